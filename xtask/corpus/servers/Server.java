// Java's com.sun.net.httpserver. Arguments: as asyncio_server.py; it cannot defer accepting.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.FileWriter;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Executors;

public class Server {
  static final String LOOKALIKE =
      "HTTP/1.1 500 Evil\r\nContent-Length: 3\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n";
  static byte[] large;
  static FileWriter log;

  static synchronized void note(HttpExchange exchange, int status) throws IOException {
    String id = exchange.getRequestHeaders().getFirst("x-galileo-request-id");
    if (id != null) {
      log.write(id + " " + exchange.getRequestMethod() + " " + exchange.getRequestURI() + " " + status + "\n");
      log.flush();
    }
  }

  static void send(HttpExchange exchange, int status, byte[] body) throws IOException {
    note(exchange, status);
    boolean head = exchange.getRequestMethod().equals("HEAD");
    if (head) {
      exchange.getResponseHeaders().set("Content-Length", String.valueOf(body.length));
    }
    exchange.sendResponseHeaders(status, head ? -1 : body.length);
    if (!head) {
      exchange.getResponseBody().write(body);
    }
  }

  static void answer(HttpExchange exchange) throws IOException {
    String path = exchange.getRequestURI().toString();
    String id = exchange.getRequestHeaders().getFirst("x-galileo-request-id");
    exchange.getResponseHeaders().set("x-echo", id == null ? "" : id);
    if ("close".equalsIgnoreCase(exchange.getRequestHeaders().getFirst("Connection"))) {
      // It closes, but does not say so by itself.
      exchange.getResponseHeaders().set("Connection", "close");
    }
    String kind = path.split("/")[1];
    byte[] small = (path.substring(0, Math.min(path.length(), 100)) + "\n").getBytes(StandardCharsets.US_ASCII);
    if (!kind.equals("early")) {
      exchange.getRequestBody().readAllBytes();
    }
    switch (kind) {
      case "early":
        send(exchange, 403, "no\n".getBytes());
        exchange.getResponseBody().flush();
        exchange.getRequestBody().readAllBytes();
        break;
      case "204":
      case "304":
        note(exchange, Integer.parseInt(kind));
        exchange.sendResponseHeaders(Integer.parseInt(kind), -1);
        break;
      case "chunked":
        note(exchange, 200);
        // A length of 0 means chunks.
        exchange.sendResponseHeaders(200, 0);
        for (int size : new int[] {4, 300, 17}) {
          exchange.getResponseBody().write("c".repeat(size).getBytes());
          exchange.getResponseBody().flush();
        }
        break;
      case "large":
        send(exchange, 200, large);
        break;
      case "lookalike":
        send(exchange, 200, LOOKALIKE.getBytes());
        break;
      case "big-head":
        exchange.getResponseHeaders().set("X-Pad", "p".repeat(6000));
        send(exchange, 200, small);
        break;
      default:
        send(exchange, 200, small);
    }
    exchange.close();
  }

  public static void main(String[] arguments) throws IOException {
    log = new FileWriter(arguments[3], true);
    large = Files.readAllBytes(Path.of(arguments[4], "large"));
    InetSocketAddress[] addresses = {
      new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])),
      new InetSocketAddress("::", Integer.parseInt(arguments[1]))
    };
    for (InetSocketAddress address : addresses) {
      HttpServer server = HttpServer.create(address, 128);
      server.createContext("/", Server::answer);
      server.setExecutor(Executors.newCachedThreadPool());
      server.start();
    }
  }
}
