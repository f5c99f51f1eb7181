// Node's http module.
'use strict';
const http = require('http');
const readline = require('readline');

const EVIL = 'GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n';
const tell = (what) => process.stdout.write(JSON.stringify(what) + '\n');

// Interim answers before the final one, and their bytes; 101 is final.
function interims(raw) {
  let count = 0, at = 0;
  while (raw[at + 9] === '1' && raw.slice(at + 9, at + 12) !== '101') {
    const end = raw.indexOf('\r\n\r\n', at);
    if (end < 0) break;
    at = end + 4;
    count += 1;
  }
  return [count, at];
}

// Counts on each socket what comes, and keeps the beginning.
function watch(socket) {
  if (!socket.seen) {
    socket.seen = { received: 0, raw: '' };
    socket.prependListener('data', (data) => {
      socket.seen.received += data.length;
      if (socket.seen.raw.length < 65536) socket.seen.raw += data.toString('latin1');
    });
  }
  socket.seen.received = 0;
  socket.seen.raw = '';
  socket.seen.written = socket.bytesWritten;
}

function exchange(plan, request, agent) {
  return new Promise((resolve, reject) => {
    const headers = request.headers.map(([name, value]) => [name, value]);
    if (request.body_bytes && !request.chunked) headers.push(['Content-Length', String(request.body_bytes)]);
    if (request.chunked) headers.push(['Transfer-Encoding', 'chunked']);
    // A CONNECT names where the tunnel leads to.
    const host = request.method === 'CONNECT' ? request.path : plan.host;
    headers.unshift(['Host', host.split(':').length > 2 ? `[${host}]` : host]);
    const sent = http.request({
      host: plan.host, port: plan.port, method: request.method, path: request.path, agent,
      headers: Object.fromEntries(headers),
    });
    let socket, whole = !request.body_bytes;
    sent.on('socket', (its) => { socket = its; watch(its); });
    const told = (status) => {
      const [interim, skipped] = interims(socket.seen.raw);
      tell({ id: request.id, status, interim, response_bytes: socket.seen.received - skipped,
        request_bytes: whole ? socket.bytesWritten - socket.seen.written : null });
    };
    const tunnel = (answer, its) => {
      told(answer.statusCode);
      its.on('error', () => {});
      its.once('data', () => { its.destroy(); resolve(); });
      its.write(EVIL);
    };
    sent.on('upgrade', tunnel);
    sent.on('connect', tunnel);
    let answered = false;
    // An answer may come before its request is sent; the server may close then.
    sent.on('error', (error) => { if (!answered) reject(error); });
    sent.on('response', (answer) => {
      answered = true;
      answer.on('data', () => {});
      answer.on('error', reject);
      answer.on('end', () => {
        told(answer.statusCode);
        // An agent takes a socket back only after both ends are done.
        if (sent.writableFinished) setImmediate(resolve); else { sent.destroy(); resolve(); }
      });
    });
    const body = request.body_prefix + 'x'.repeat(request.body_bytes - request.body_prefix.length);
    const send = () => {
      if (request.chunked) sent.write(body.slice(0, body.length / 2));
      sent.end(request.chunked ? body.slice(body.length / 2) : body, () => { whole = true; });
    };
    if (headers.some(([name]) => name === 'Expect')) sent.on('continue', send);
    else if (body) send();
    else sent.end();
  });
}

async function run(plan, lines) {
  const agent = new http.Agent({ keepAlive: !plan.fresh, maxSockets: 1 });
  try {
    for (const [index, request] of plan.requests.entries()) {
      if (plan.hold && index === plan.requests.length >> 1) {
        tell({ hold: true });
        await lines.next();
      }
      await exchange(plan, request, agent);
    }
    tell({ done: true });
  } catch (error) {
    tell({ error: String(error) });
  } finally {
    agent.destroy();
  }
}

(async () => {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  for (let line = await lines.next(); !line.done; line = await lines.next()) {
    await run(JSON.parse(line.value), lines);
  }
})();
