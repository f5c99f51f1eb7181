// Node's http module. Arguments: as asyncio_server.py; Node cannot defer accepting.
'use strict';
const fs = require('fs');
const http = require('http');

const [plain, both, , log, folder] = process.argv.slice(2);
const EVIL = 'HTTP/1.1 500 Evil\r\nContent-Length: 4\r\n\r\nevil';
const LOOKALIKE = 'HTTP/1.1 500 Evil\r\nContent-Length: 3\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n';
const large = `${folder}/large`;
const size = fs.statSync(large).size;
const small = (path) => path.slice(0, 100) + '\n';
const note = (request, status) => {
  const id = request.headers['x-galileo-request-id'];
  if (id) fs.appendFileSync(log, `${id} ${request.method} ${request.url} ${status}\n`);
};

function answer(request, response) {
  const kind = request.url.split('/')[1];
  response.sendDate = false;
  response.setHeader('x-echo', request.headers['x-galileo-request-id'] || '');
  const send = (status, body, fields = {}) => {
    note(request, status);
    response.writeHead(status, { 'Content-Length': Buffer.byteLength(body), ...fields });
    response.end(body);
  };
  if (kind === 'early') {
    send(403, 'no\n');
    request.resume();
    return;
  }
  request.resume();
  request.on('end', () => {
    if (kind === '204') {
      note(request, 204);
      response.writeHead(204).end();
    } else if (kind === '304') {
      note(request, 304);
      response.writeHead(304, { 'Content-Length': 5000 }).end();
    } else if (kind === 'chunked' || kind === 'trailers') {
      note(request, 200);
      response.writeHead(200, kind === 'trailers' ? { Trailer: 'X-T' } : {});
      response.write('c'.repeat(4));
      response.write('c'.repeat(300));
      if (kind === 'trailers') response.addTrailers({ 'X-T': 'HTTP/1.1 500' });
      response.end('c'.repeat(17));
    } else if (kind === 'close') {
      note(request, 200);
      response.shouldKeepAlive = false;
      response.useChunkedEncodingByDefault = false;
      response.writeHead(200);
      response.write(small(request.url));
      response.end(small(request.url));
    } else if (kind === 'large') {
      note(request, 200);
      response.writeHead(200, { 'Content-Length': size });
      if (request.method === 'HEAD') response.end();
      else fs.createReadStream(large).pipe(response);
    } else if (kind === 'lookalike') {
      note(request, 200);
      response.writeHead(200, { 'Content-Length': LOOKALIKE.length });
      response.flushHeaders();
      response.end(LOOKALIKE);
    } else if (kind === 'interim') {
      for (let n = 0; n < 3; n += 1) response.writeEarlyHints({ link: '</style.css>; rel=preload' });
      send(200, small(request.url));
    } else if (kind === 'big-head') {
      send(200, small(request.url), { 'X-Pad': 'p'.repeat(6000) });
    } else {
      send(200, small(request.url));
    }
  });
}

function tunnel(status, line) {
  return (request, socket) => {
    note(request, status);
    socket.on('error', () => {});
    socket.write(`HTTP/1.1 ${status} ${line}\r\nx-echo: ${request.headers['x-galileo-request-id']}\r\n\r\n`);
    socket.once('data', () => socket.end(EVIL));
  };
}

for (const [port, host] of [[plain, '127.0.0.1'], [both, '::']]) {
  const server = http.createServer({ maxHeaderSize: 65536, requireHostHeader: false }, answer);
  server.on('upgrade', tunnel(101, 'Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: galileo'));
  server.on('connect', tunnel(200, 'Connected'));
  server.keepAliveTimeout = 60000;
  server.listen(Number(port), host);
}
