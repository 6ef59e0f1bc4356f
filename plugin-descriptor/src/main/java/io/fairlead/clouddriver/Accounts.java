package io.fairlead.clouddriver;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.time.Instant;
import java.util.Collection;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.beans.factory.DisposableBean;

/**
 * The accounts as the bridge last told them. A thread follows the bridge's stream; what it says is kept on disk, so that a
 * Clouddriver that starts without its bridge keeps its accounts. Only a complete list takes an account out: silence never does.
 */
final class Accounts implements DisposableBean, Runnable {
  private static final Logger log = LoggerFactory.getLogger(Accounts.class);
  /** The bridge speaks at least every 10 s. */
  private static final Duration SILENCE = Duration.ofSeconds(30);
  /** With a list from disk, waiting at the start only buys a newer one. */
  private static final Duration REFRESH = Duration.ofSeconds(15);

  private final Bridge bridge;
  private final Settings settings;
  private final Path file;
  private final Thread thread = new Thread(this, "fairlead-accounts");
  private volatile boolean stopped;
  private volatile Bridge.Stream stream;

  private final Object lock = new Object();
  // below: guarded by lock
  private Map<String, JsonNode> known = new TreeMap<>(); // as in the protocol, by name; never changed in place
  private long version; // rises with each change of known
  private boolean complete; // known was a complete list once in this process's life
  private boolean connected;
  private String problem = "the bridge has not been heard yet";
  private JsonNode status;

  Accounts(Bridge bridge, Settings settings) {
    this.bridge = bridge;
    this.settings = settings;
    this.file = settings.stateDir.resolve("accounts.json");
    restore();
    thread.setDaemon(true);
    thread.start();
  }

  Collection<JsonNode> known() {
    synchronized (lock) {
      return known.values();
    }
  }

  /** What is wrong with the bridge; null when nothing is. */
  String problem() {
    synchronized (lock) {
      return problem;
    }
  }

  JsonNode status() {
    synchronized (lock) {
      return status;
    }
  }

  /** Waits at Clouddriver's start for the first complete list. */
  void awaitComplete() {
    synchronized (lock) {
      Duration limit = known.isEmpty() || settings.startTimeout.compareTo(REFRESH) < 0 ? settings.startTimeout : REFRESH;
      Instant end = Instant.now().plus(limit);
      if (!complete) {
        log.info("Fairlead: waiting at most {}s for the accounts of the bridge at {}", limit.toSeconds(), bridge.address());
      }
      while (!complete && !stopped && waitUntil(end)) {}
      if (!complete) {
        log.error("Fairlead: no complete list of accounts came within {}s ({}); starting with {} last known ones, others follow when it does",
            limit.toSeconds(), problem, known.size());
      }
    }
  }

  /** Waits until the list is newer than version, or for d; returns the version of the list. */
  long awaitNewer(long than, Duration d) {
    synchronized (lock) {
      Instant end = Instant.now().plus(d);
      while (version <= than && !stopped && waitUntil(end)) {}
      return version;
    }
  }

  private boolean waitUntil(Instant end) {
    long ms = Duration.between(Instant.now(), end).toMillis();
    if (ms <= 0) {
      return false;
    }
    try {
      lock.wait(ms);
      return true;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  @Override
  public void run() {
    long backoff = 250;
    while (!stopped) {
      try (Bridge.Stream s = bridge.stream("WatchAccounts", Map.of(), SILENCE)) {
        stream = s;
        for (JsonNode list = s.next(); list != null && !stopped; list = s.next()) {
          take(list);
          backoff = 250;
          JsonNode now = bridge.call("GetStatus", Map.of(), Duration.ofSeconds(5));
          synchronized (lock) {
            status = now;
          }
        }
        lost("the bridge ended the stream of accounts");
      } catch (Exception e) {
        lost(e.getMessage() == null ? e.toString() : e.getMessage());
      }
      try {
        Thread.sleep(backoff / 2 + ThreadLocalRandom.current().nextLong(backoff));
      } catch (InterruptedException e) {
        return;
      }
      backoff = Math.min(backoff * 2, 2_000);
    }
  }

  private void lost(String why) {
    synchronized (lock) {
      if (!stopped && !why.equals(problem)) {
        log.warn("Fairlead: bridge at {}: {}; {} accounts are kept as they are", bridge.address(), why, known.size());
      }
      connected = false;
      problem = why;
      status = null;
    }
  }

  private void take(JsonNode list) {
    boolean whole = list.path("complete").asBoolean();
    synchronized (lock) {
      Map<String, JsonNode> next = whole ? new TreeMap<>() : new TreeMap<>(known);
      list.path("accounts").forEach(a -> next.put(a.path("name").asText(), a));
      if (!connected) {
        log.info("Fairlead: bridge at {} is heard", bridge.address());
      }
      connected = true;
      problem = whole ? null : "the bridge does not know all accounts yet (its database is away, or it has just started)";
      boolean first = whole && !complete;
      complete |= whole;
      if (!next.equals(known) || first) {
        log.info("Fairlead: {} accounts (revision {}, {}), {} before", next.size(), list.path("revision").asText(), whole ? "complete" : "not complete", known.size());
        known = next;
        version++;
        lock.notifyAll();
      }
    }
    store();
  }

  private String stored = "";

  private void store() {
    ObjectNode content = Bridge.JSON.createObjectNode();
    known().forEach(content.putArray("accounts")::add);
    String now = content.toString();
    if (now.equals(stored)) {
      return;
    }
    try {
      Files.createDirectories(settings.stateDir);
      Path temporary = Files.createTempFile(settings.stateDir, "accounts", ".tmp",
          PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
      Files.writeString(temporary, now);
      Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
      stored = now;
    } catch (IOException | UnsupportedOperationException e) {
      log.error("Fairlead: accounts cannot be kept in {}: {}. A start without the bridge would lack them: set {}stateDir to a directory that Clouddriver may write",
          file, e, Settings.PREFIX);
      stored = now; // said once for each list
    }
  }

  private void restore() {
    try {
      ArrayNode accounts = (ArrayNode) Bridge.JSON.readTree(Files.readString(file)).get("accounts");
      accounts.forEach(a -> known.put(a.get("name").asText(), a));
      log.info("Fairlead: {} last known accounts read from {}", known.size(), file);
    } catch (NoSuchFileException e) {
      log.info("Fairlead: no accounts are known from before ({} does not exist)", file);
    } catch (IOException | RuntimeException e) {
      log.error("Fairlead: last known accounts cannot be read from {}: {}", file, e.toString());
    }
  }

  @Override
  public void destroy() {
    stopped = true;
    Bridge.Stream s = stream;
    if (s != null) {
      s.close();
    }
    thread.interrupt();
    synchronized (lock) {
      lock.notifyAll();
    }
  }
}
