package io.fairlead.clouddriver;

import com.fasterxml.jackson.databind.JsonNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;

/** What a bridge says on the wire, and no more. */
final class FakeBridge implements AutoCloseable {
  interface Answer {
    void write(JsonNode request, OutputStream out) throws Exception;
  }

  final Path dir;
  final List<JsonNode> requests = new CopyOnWriteArrayList<>();
  final List<String> secrets = new CopyOnWriteArrayList<>();
  /** Lists of accounts to send; an empty text ends the stream. */
  final BlockingQueue<String> lists = new LinkedBlockingQueue<>();
  volatile Answer execute = (request, out) -> {};
  /** What HoldNewAccounts sends; then it waits until the plugin goes. */
  volatile String held = list(false);
  volatile CountDownLatch let = new CountDownLatch(1);
  volatile int status = 200;

  private final ExecutorService threads = Executors.newCachedThreadPool();
  private final int port;
  private HttpServer server;

  FakeBridge(Path dir) throws IOException {
    this.dir = dir;
    Files.writeString(dir.resolve("secret"), "the secret\n");
    server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
    port = server.getAddress().getPort();
    serve();
  }

  Settings settings() {
    return settings(Duration.ofMillis(300));
  }

  Settings settings(Duration startTimeout) {
    return new Settings("http://127.0.0.1:" + port + "/", dir.resolve("secret"), new Path[3], dir.resolve("state"), startTimeout, Duration.ofSeconds(20));
  }

  void stop() {
    server.stop(0);
  }

  void start() throws IOException {
    server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
    serve();
  }

  private void serve() {
    String service = "/fairlead.clouddriver.v1.ClouddriverService/";
    server.createContext(service + "Execute", e -> stream(e, execute));
    server.createContext(service + "WatchAccounts", e -> stream(e, (request, out) -> {
      for (String list = lists.take(); !list.isEmpty(); list = lists.take()) {
        envelope(out, 0, list);
      }
      envelope(out, 2, "{}");
    }));
    server.createContext(service + "HoldNewAccounts", e -> stream(e, (request, out) -> {
      envelope(out, 0, held);
      try {
        while (true) {
          Thread.sleep(20); // nothing else tells this server that its client has gone
          envelope(out, 0, "{}");
        }
      } catch (UncheckedIOException left) {
        let.countDown();
      }
    }));
    server.createContext(service + "GetStatus", e -> {
      byte[] body = "{\"version\":\"v1\",\"agents\":3,\"accountsConnected\":2}".getBytes(StandardCharsets.UTF_8);
      e.sendResponseHeaders(200, body.length);
      e.getResponseBody().write(body);
      e.close();
    });
    server.setExecutor(threads);
    server.start();
  }

  private void stream(HttpExchange e, Answer answer) throws IOException {
    byte[] body = e.getRequestBody().readAllBytes();
    secrets.add(e.getRequestHeaders().getFirst("Authorization"));
    JsonNode request = Bridge.JSON.readTree(body, 5, body.length - 5);
    requests.add(request);
    e.sendResponseHeaders(status, status == 200 ? 0 : -1);
    if (status == 200) {
      try {
        answer.write(request, e.getResponseBody());
      } catch (IOException left) {
        // the plugin left
      } catch (Exception other) {
        throw new IOException(other);
      }
    }
    e.close();
  }

  static void envelope(OutputStream out, int flags, String message) {
    byte[] content = message.getBytes(StandardCharsets.UTF_8);
    try {
      out.write(ByteBuffer.allocate(5 + content.length).put((byte) flags).putInt(content.length).put(content).array());
      out.flush();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static void frame(OutputStream out, String name, String text) {
    envelope(out, 0, "{\"" + name + "\":\"" + Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8)) + "\"}");
  }

  static void exit(OutputStream out, String exit) {
    envelope(out, 0, "{\"exit\":" + exit + "}");
    envelope(out, 2, "{}");
  }

  static String list(boolean complete, String... names) {
    StringBuilder accounts = new StringBuilder();
    for (String name : names) {
      accounts.append(accounts.length() == 0 ? "" : ",").append("{\"name\":\"" + name + "\",\"definition\":{\"name\":\"" + name
          + "\",\"kubectlExecutable\":\"agent://" + name + "\",\"future\":1},\"cachingAgents\":[\"" + name + "/Core\"],\"types\":[\"pod\"]}");
    }
    return "{\"revision\":\"r\"," + (complete ? "\"complete\":true," : "") + "\"accounts\":[" + accounts + "]}";
  }

  @Override
  public void close() {
    stop();
    threads.shutdownNow();
  }
}
