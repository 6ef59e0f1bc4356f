package io.fairlead.clouddriver;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsExchange;
import com.sun.net.httpserver.HttpsParameters;
import com.sun.net.httpserver.HttpsServer;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.Key;
import java.security.KeyStore;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CertificatesTest {
  @TempDir Path dir;

  /** A key with a certificate that it signed itself. */
  static final class Pair {
    final X509Certificate certificate;
    final Key key;

    Pair(Path dir, String name, String algorithm, String size, String address) throws Exception {
      Path store = dir.resolve(name + ".p12");
      Process keytool = new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "keytool").toString(), "-genkeypair", "-alias", "x", "-keyalg", algorithm, "-keysize", size,
          "-dname", "CN=" + name, "-ext", "san=ip:" + address, "-validity", "1", "-keystore", store.toString(), "-storetype", "PKCS12", "-storepass", "changeit")
          .redirectErrorStream(true).start();
      String said = new String(keytool.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      assertEquals(0, keytool.waitFor(), said);
      KeyStore keys = KeyStore.getInstance("PKCS12");
      try (InputStream in = Files.newInputStream(store)) {
        keys.load(in, "changeit".toCharArray());
      }
      certificate = (X509Certificate) keys.getCertificate("x");
      key = keys.getKey("x", "changeit".toCharArray());
    }

    byte[] crt() throws Exception {
      return pem("CERTIFICATE", certificate.getEncoded());
    }

    byte[] pkcs8() {
      return pem("PRIVATE KEY", key.getEncoded());
    }

    /** PKCS #1 or SEC 1: what is inside of PKCS #8. */
    byte[] bare() {
      ByteBuffer in = ByteBuffer.wrap(key.getEncoded());
      enter(in);
      skip(in);
      skip(in);
      byte[] inner = new byte[enter(in)];
      in.get(inner);
      return pem(key.getAlgorithm() + " PRIVATE KEY", inner);
    }

    private static int enter(ByteBuffer in) {
      in.get();
      int n = in.get() & 0xff;
      if (n == 0x81) {
        return in.get() & 0xff;
      }
      return n == 0x82 ? in.getShort() & 0xffff : n;
    }

    private static void skip(ByteBuffer in) {
      int n = enter(in);
      in.position(in.position() + n);
    }
  }

  static byte[] pem(String kind, byte[] der) {
    return ("-----BEGIN " + kind + "-----\n" + Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(der) + "\n-----END " + kind + "-----\n").getBytes(StandardCharsets.US_ASCII);
  }

  @Test
  void keysAreReadInEachFormThatCertManagerAndTheCommandLineWrite() throws Exception {
    for (Pair p : List.of(new Pair(dir, "rsa", "RSA", "2048", "127.0.0.1"), new Pair(dir, "ec", "EC", "256", "127.0.0.1"), new Pair(dir, "ec384", "EC", "384", "127.0.0.1"),
        new Pair(dir, "rsa4096", "RSA", "4096", "127.0.0.1"))) {
      Certificates.context(p.crt(), p.pkcs8(), p.crt());
      Certificates.context(p.crt(), p.bare(), p.crt());
    }
  }

  @Test
  void filesThatMakeNoSenseAreRefusedInWordsWithoutWhatTheyHold() throws Exception {
    Pair one = new Pair(dir, "one", "EC", "256", "127.0.0.1");
    Pair two = new Pair(dir, "two", "EC", "256", "127.0.0.1");
    byte[] nonsense = "nonsense".getBytes(StandardCharsets.US_ASCII);
    refused("certificateFile: not certificates", nonsense, one.pkcs8(), one.crt());
    refused("certificateFile: no certificate", new byte[0], one.pkcs8(), one.crt());
    refused("caFile: no", one.crt(), one.pkcs8(), new byte[0]);
    refused("keyFile: no private key", one.crt(), nonsense, one.crt());
    refused("keyFile: the key is not that of certificateFile", one.crt(), two.pkcs8(), one.crt());
    refused("keyFile: the private key is damaged", one.crt(), pem("PRIVATE KEY", "hunter2".getBytes(StandardCharsets.US_ASCII)), one.crt());
    refused("keyFile: the private key is damaged", one.crt(), pem("EC PRIVATE KEY", "hunter2".getBytes(StandardCharsets.US_ASCII)), one.crt());
    refused("keyFile: the key is encrypted", one.crt(), pem("ENCRYPTED PRIVATE KEY", "hunter2".getBytes(StandardCharsets.US_ASCII)), one.crt());
  }

  private static void refused(String want, byte[] certificate, byte[] key, byte[] cas) {
    GeneralSecurityException e = assertThrows(GeneralSecurityException.class, () -> Certificates.context(certificate, key, cas));
    assertTrue(e.getMessage().contains(want), e.getMessage());
    assertFalse(e.getMessage().contains("hunter2"), e.getMessage());
  }

  @Test
  void aBridgeIsCalledWithTheCertificateThatTheFilesHold() throws Exception {
    Pair server = new Pair(dir, "server", "EC", "256", "127.0.0.1");
    Pair first = new Pair(dir, "first", "EC", "256", "127.0.0.1");
    Pair second = new Pair(dir, "second", "RSA", "2048", "127.0.0.1");
    Pair elsewhere = new Pair(dir, "elsewhere", "EC", "256", "127.0.0.2");
    byte[] clients = (new String(first.crt(), StandardCharsets.US_ASCII) + new String(second.crt(), StandardCharsets.US_ASCII)).getBytes(StandardCharsets.US_ASCII);
    try (Listening bridge = new Listening(Certificates.context(server.crt(), server.pkcs8(), clients)); Listening other = new Listening(Certificates.context(elsewhere.crt(), elsewhere.pkcs8(), clients))) {
      // The state of a Secret's volume that is not there yet.
      Bridge plugin = new Bridge(settings(bridge));
      notTaken("the certificates for the bridge at " + bridge.address() + " cannot be read", plugin);
      save(first.crt(), first.pkcs8(), server.crt());
      assertEquals("first", who(plugin));
      // Renewed while it runs; half of a change, and one that makes no sense, leave the former in use.
      Files.write(dir.resolve("tls.crt"), second.crt());
      await("first", plugin, 3);
      Files.write(dir.resolve("tls.key"), second.bare());
      await("second", plugin, 1);
      Files.delete(dir.resolve("tls.key"));
      await("second", plugin, 3);
      Files.write(dir.resolve("tls.key"), second.bare());

      // The bridge is another one, or at another address than its certificate says.
      save(first.crt(), first.pkcs8(), first.crt());
      notTaken("do not agree on TLS", new Bridge(settings(bridge)));
      save(first.crt(), first.pkcs8(), elsewhere.crt());
      notTaken("is the host's name among plugin.tls.names?", new Bridge(settings(other)));
    }
  }

  private Settings settings(Listening bridge) {
    return new Settings(bridge.address() + "/", dir.resolve("no-secret"), new Path[] {dir.resolve("tls.crt"), dir.resolve("tls.key"), dir.resolve("ca.crt")}, dir, Duration.ofSeconds(1), Duration.ofSeconds(1));
  }

  private void save(byte[] certificate, byte[] key, byte[] cas) throws Exception {
    Files.write(dir.resolve("tls.crt"), certificate);
    Files.write(dir.resolve("tls.key"), key);
    Files.write(dir.resolve("ca.crt"), cas);
  }

  private static String who(Bridge plugin) throws Exception {
    return plugin.call("GetStatus", Map.of(), Duration.ofSeconds(20)).path("version").asText();
  }

  /** Calls until the bridge has seen the name so many times in a row; files are looked at once a second. */
  private static void await(String want, Bridge plugin, int times) throws Exception {
    int seen = 0;
    for (int i = 0; i < 200 && seen < times; i++) {
      seen = who(plugin).equals(want) ? seen + 1 : 0;
      Thread.sleep(times == 1 ? 50 : 600);
    }
    assertEquals(times, seen, "calls in a row by " + want);
  }

  private static void notTaken(String want, Bridge plugin) {
    Bridge.NotTaken e = assertThrows(Bridge.NotTaken.class, () -> who(plugin));
    assertTrue(e.getMessage().contains(want), e.getMessage());
  }

  /** Answers with the name of who calls; the protocol is FakeBridge's, certificates the JDK's. */
  private static final class Listening implements AutoCloseable {
    private final HttpsServer server = HttpsServer.create(new InetSocketAddress("127.0.0.1", 0), 0);

    Listening(SSLContext context) throws Exception {
      server.setHttpsConfigurator(new HttpsConfigurator(context) {
        @Override
        public void configure(HttpsParameters p) {
          SSLParameters wanted = context.getDefaultSSLParameters();
          wanted.setNeedClientAuth(true);
          p.setSSLParameters(wanted);
        }
      });
      server.createContext("/", e -> {
        e.getRequestBody().readAllBytes();
        String name = ((HttpsExchange) e).getSSLSession().getPeerPrincipal().getName().replaceAll("CN=", "");
        boolean secret = e.getRequestHeaders().containsKey("Authorization");
        byte[] body = ("{\"version\":\"" + name + (secret ? " with a secret" : "") + "\"}").getBytes(StandardCharsets.UTF_8);
        e.sendResponseHeaders(200, body.length);
        e.getResponseBody().write(body);
        e.close();
      });
      server.start();
    }

    String address() {
      return "https://127.0.0.1:" + server.getAddress().getPort();
    }

    @Override
    public void close() {
      server.stop(0);
    }
  }
}
