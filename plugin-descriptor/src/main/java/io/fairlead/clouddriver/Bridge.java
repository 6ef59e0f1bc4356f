package io.fairlead.clouddriver;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.security.GeneralSecurityException;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import javax.net.ssl.SSLHandshakeException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Calls the bridge: {@code fairlead.clouddriver.v1.ClouddriverService} by the Connect protocol, in JSON. */
final class Bridge {
  /** The bridge could not take a call: nothing was begun. */
  static final class NotTaken extends IOException {
    NotTaken(String message, Throwable cause) {
      super(message, cause);
    }
  }

  private static final String SERVICE = "/fairlead.clouddriver.v1.ClouddriverService/";
  private static final int COMPRESSED = 1, END = 2; // flags of an envelope
  private static final int MAXIMUM_ENVELOPE = 256 << 20; // a list of 100,000 accounts

  /** How often the certificates' files are looked at, at most. */
  private static final Duration LOOK_EVERY = Duration.ofSeconds(1);
  private static final Logger log = LoggerFactory.getLogger(Bridge.class);
  // Tells the bridge which version calls, "null" outside the jar.
  private static final String AGENT = "fairlead-plugin/" + Bridge.class.getPackage().getImplementationVersion();

  static final ObjectMapper JSON = new ObjectMapper();

  private final Settings settings;
  private final boolean https;
  private HttpClient http;
  // with https: what http was made of, and when the files were looked at last
  private byte[][] files;
  private long looked;
  private String said = "";

  Bridge(Settings settings) {
    this.settings = settings;
    this.https = settings.bridge.startsWith("https:");
    this.http = https ? null : client().build();
  }

  // HTTP/1.1: with the default, each connection would begin with an attempt to upgrade.
  private static HttpClient.Builder client() {
    return HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(5));
  }

  /** The client, with the certificates that the files hold now. Content that makes no sense leaves the former in use. */
  private synchronized HttpClient http() throws NotTaken {
    long now = System.nanoTime();
    if (!https || http != null && now - looked < LOOK_EVERY.toNanos()) {
      return http;
    }
    try {
      byte[][] present = Certificates.read(settings.certificateFile, settings.keyFile, settings.caFile);
      looked = now;
      if (http == null || !Arrays.deepEquals(present, files)) {
        HttpClient next = client().sslContext(Certificates.context(present[0], present[1], present[2])).build();
        if (http != null) {
          log.info("Fairlead: new certificates are in use for the bridge at {}", settings.bridge);
        }
        http = next;
        files = present;
      }
      said = "";
      return http;
    } catch (IOException | GeneralSecurityException e) {
      String problem = "the certificates for the bridge at " + settings.bridge + " cannot be read: " + (e instanceof GeneralSecurityException ? e.getMessage() : e)
          + "; \"fairlead plugin certificate\" makes certificateFile (" + settings.certificateFile + "), keyFile (" + settings.keyFile + ") and caFile (" + settings.caFile + ")";
      if (http == null) {
        throw new NotTaken(problem, e);
      }
      looked = now;
      if (!problem.equals(said)) {
        log.warn("Fairlead: {}; the former ones stay in use", problem);
        said = problem;
      }
      return http;
    }
  }

  String address() {
    return settings.bridge;
  }

  /** A unary call. */
  JsonNode call(String method, Map<String, ?> message, Duration timeout) throws IOException {
    try (Body body = send(method, "application/json", JSON.writeValueAsBytes(message), timeout, timeout)) {
      return JSON.readTree(body.readAllBytes());
    }
  }

  /** A call that is answered by a stream. patience is how long to wait for the answer's begin, and for each of its parts. */
  Stream stream(String method, Map<String, ?> message, Duration patience) throws IOException {
    byte[] content = JSON.writeValueAsBytes(message);
    byte[] envelope = ByteBuffer.allocate(5 + content.length).put((byte) 0).putInt(content.length).put(content).array();
    return new Stream(send(method, "application/connect+json", envelope, patience, patience));
  }

  private Body send(String method, String type, byte[] content, Duration timeout, Duration patience) throws IOException {
    HttpResponse<Body> response;
    try {
      HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(settings.bridge + SERVICE + method))
          .timeout(timeout)
          .header("Content-Type", type)
          .header("User-Agent", AGENT)
          .header("Connect-Protocol-Version", "1")
          .POST(HttpRequest.BodyPublishers.ofByteArray(content));
      if (!https) {
        request.header("Authorization", "Bearer " + secret());
      }
      response = http().send(request.build(), info -> new Body(patience));
    } catch (SSLHandshakeException e) {
      throw new NotTaken("the bridge at " + settings.bridge + " and this plugin do not agree on TLS: " + reason(e)
          + " (is its certificate of a CA in " + settings.caFile + ", and is the host's name among plugin.tls.names?)", e);
    } catch (ConnectException | HttpConnectTimeoutException e) {
      throw new NotTaken("the bridge at " + settings.bridge + " cannot be reached (is its container running?)", e);
    } catch (IllegalArgumentException e) {
      throw new NotTaken("setting " + Settings.PREFIX + "bridge \"" + settings.bridge + "\" is not a URL: " + e.getMessage(), e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
    if (response.statusCode() != 200) {
      try (Body body = response.body()) {
        String said = new String(body.readNBytes(4096), StandardCharsets.UTF_8).trim();
        throw new NotTaken("the bridge at " + settings.bridge + " refused: " + said + " (HTTP " + response.statusCode() + ")", null);
      }
    }
    return response.body();
  }

  /** What lies at the bottom says most. */
  private static String reason(Throwable e) {
    Throwable deepest = e;
    while (deepest.getCause() != null) {
      deepest = deepest.getCause();
    }
    return deepest.getMessage() == null ? deepest.toString() : deepest.getMessage();
  }

  /** Read for each call, since the bridge may make a new one. */
  private String secret() throws NotTaken {
    try {
      return Files.readString(settings.secretFile).trim();
    } catch (IOException e) {
      throw new NotTaken("the secret cannot be read from " + settings.secretFile + " (the bridge makes it at its start; both containers must mount it): " + e, e);
    }
  }

  /** The messages of an answer. */
  static final class Stream implements AutoCloseable {
    private final Body body;
    private final DataInputStream in;

    Stream(Body body) {
      this.body = body;
      this.in = new DataInputStream(body);
    }

    void patience(Duration d) {
      body.patience(d);
    }

    /** The next message; null at the end. An answer that ends in an error throws {@link NotTaken}. */
    JsonNode next() throws IOException {
      int flags;
      byte[] content;
      try {
        flags = in.readUnsignedByte();
        int length = in.readInt();
        if (length < 0 || length > MAXIMUM_ENVELOPE || (flags & COMPRESSED) != 0) {
          throw new IOException("what answers is not a bridge: envelope of " + length + " bytes with flags " + flags);
        }
        content = in.readNBytes(length);
        if (content.length < length) {
          throw new EOFException();
        }
      } catch (EOFException e) {
        throw new IOException("the bridge broke the answer off", e);
      }
      JsonNode message = JSON.readTree(content);
      if ((flags & END) == 0) {
        return message;
      }
      JsonNode error = message.path("error");
      if (error.isMissingNode() || error.isNull()) {
        return null;
      }
      throw new NotTaken("the bridge refused: " + error.path("message").asText() + " (" + error.path("code").asText() + ")", null);
    }

    @Override
    public void close() {
      body.close();
    }
  }
}
