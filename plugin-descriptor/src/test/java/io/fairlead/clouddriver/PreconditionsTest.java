package io.fairlead.clouddriver;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.springframework.core.env.MapPropertySource;
import org.springframework.core.env.StandardEnvironment;

class PreconditionsTest {
  private static List<String> obstacles(String... changes) {
    Map<String, Object> settings = new HashMap<>(Map.of(
        "sql.enabled", true, "sql.cache.enabled", "true",
        "sql.connectionPools.default.jdbcUrl", "jdbc:mysql://mysql:3306/clouddriver"));
    for (int i = 0; i < changes.length; i += 2) {
      settings.put(changes[i], changes[i + 1]);
    }
    StandardEnvironment env = new StandardEnvironment();
    env.getPropertySources().addFirst(new MapPropertySource("test", settings));
    return Preconditions.obstacles(env);
  }

  private static void refusedFor(String want, String... changes) {
    List<String> found = obstacles(changes);
    assertEquals(1, found.size(), found.toString());
    assertTrue(found.get(0).contains(want), found.get(0));
    assertTrue(found.get(0).contains("https://"), "no link: " + found.get(0));
  }

  @Test
  void clouddriverOnMySqlOrMariaDbIsFine() {
    assertEquals(List.of(), obstacles());
    assertEquals(List.of(), obstacles("sql.connectionPools.default.jdbcUrl", "jdbc:mariadb://m/clouddriver"));
    assertEquals(List.of(), obstacles("spinnaker.extensibility.plugins.Armory.Kubesvc.enabled", "false", "armory.kubesvc.enabled", "false"));
  }

  @Test
  void theReplacedProductBesideIsRefusedWithTheKeyToChange() {
    refusedFor("set spinnaker.extensibility.plugins.Armory.Kubesvc.enabled to false", "spinnaker.extensibility.plugins.Armory.Kubesvc.enabled", "true");
    refusedFor("set armory.kubesvc.enabled to false", "armory.kubesvc.enabled", "TRUE");
  }

  @Test
  void aCacheInRedisIsRefused() {
    refusedFor("set sql.enabled and sql.cache.enabled to true", "sql.enabled", "false");
    refusedFor("redis.cache.enabled to false", "sql.cache.enabled", "false");
  }

  @Test
  void postgresIsRefusedWithoutShowingWhatTheUrlHolds() {
    refusedFor("begins with \"jdbc:postgresql:\"", "sql.connectionPools.default.jdbcUrl", "jdbc:postgresql://user:hunter2@db/clouddriver");
    assertTrue(!obstacles("sql.connectionPools.default.jdbcUrl", "jdbc:postgresql://user:hunter2@db/clouddriver").toString().contains("hunter2"));
  }

  @Test
  void overANetworkOnlyHttpsWithCertificatesIsSpoken() {
    String p = Settings.PREFIX;
    assertEquals(List.of(), obstacles(p + "bridge", "http://localhost:9092"));
    assertEquals(List.of(), obstacles(p + "bridge", "http://[::1]:9092"));
    assertEquals(List.of(), obstacles(p + "bridge", "https://fairlead-bridge:9092/", p + "certificateFile", "/t/tls.crt", p + "keyFile", "/t/tls.key", p + "caFile", "/t/ca.crt"));
    refusedFor("only https is spoken", p + "bridge", "http://fairlead-bridge:9092");
    refusedFor("only https is spoken", p + "bridge", "http://10.1.2.3:9092");
    refusedFor("only https is spoken", p + "bridge", "http://127.0.0.1.evil.example:9092");
    refusedFor("keyFile: is not set", p + "bridge", "https://fairlead-bridge:9092", p + "certificateFile", "/t/tls.crt", p + "caFile", "/t/ca.crt");
    refusedFor("\"127.0.0.1:9092\" is no address", p + "bridge", "127.0.0.1:9092");
    refusedFor("\"ftp://x\" is no address", p + "bridge", "ftp://x");
    refusedFor("is no address", p + "bridge", "https:///x");
  }
}
