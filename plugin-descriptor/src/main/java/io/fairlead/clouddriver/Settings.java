package io.fairlead.clouddriver;

import java.net.URI;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.core.env.ConfigurableEnvironment;
import org.springframework.core.env.EnumerablePropertySource;
import org.springframework.core.env.Environment;
import org.springframework.core.env.PropertySource;

/** What an operator can set under {@code spinnaker.extensibility.plugins.Fairlead.Bridge.config}. */
final class Settings {
  static final String PREFIX = "spinnaker.extensibility.plugins.Fairlead.Bridge.config.";
  private static final List<String> KEYS = List.of("bridge", "secretFile", "certificateFile", "keyFile", "caFile", "stateDir", "startTimeoutSeconds");
  private static final String BRIDGE = "http://127.0.0.1:9092";
  private static final Logger log = LoggerFactory.getLogger(Settings.class);

  /** Base URL of the bridge's plugin endpoint. */
  final String bridge;
  /** File that the bridge makes, on a volume that only the two containers mount. Not used with https. */
  final Path secretFile;
  /** For https: the client certificate with its key, and whom to trust, in PEM. Null without. */
  final Path certificateFile, keyFile, caFile;
  /** Where the last known accounts are kept. */
  final Path stateDir;
  /** How long Clouddriver's start waits for the first complete list of accounts. */
  final Duration startTimeout;
  /** How long a command may take: Clouddriver's own limit for kubectl. */
  final Duration commandTimeout;

  Settings(String bridge, Path secretFile, Path[] tls, Path stateDir, Duration startTimeout, Duration commandTimeout) {
    this.bridge = bridge.trim().replaceAll("/+$", "");
    this.secretFile = secretFile;
    this.certificateFile = tls[0];
    this.keyFile = tls[1];
    this.caFile = tls[2];
    this.stateDir = stateDir;
    this.startTimeout = startTimeout;
    this.commandTimeout = commandTimeout;
  }

  static Settings read(Environment env) {
    warnOfUnknownKeys(env);
    Path secretFile = Path.of(env.getProperty(PREFIX + "secretFile", "/var/run/fairlead/secret"));
    String stateDir = env.getProperty(PREFIX + "stateDir");
    return new Settings(
        env.getProperty(PREFIX + "bridge", BRIDGE),
        secretFile,
        new Path[] {file(env, "certificateFile"), file(env, "keyFile"), file(env, "caFile")},
        stateDir != null ? Path.of(stateDir) : secretFile.toAbsolutePath().getParent(),
        Duration.ofSeconds(positive(env, PREFIX + "startTimeoutSeconds", 60)),
        Duration.ofMinutes(positive(env, "jobs.local.timeout-minutes", 10)));
  }

  private static Path file(Environment env, String name) {
    String value = env.getProperty(PREFIX + name, "");
    return value.isBlank() ? null : Path.of(value.trim());
  }

  /** Why the plugin cannot call its bridge as it is set; empty when it can. Each names the key to change. */
  static List<String> obstacles(Environment env) {
    String bridge = env.getProperty(PREFIX + "bridge", BRIDGE).trim();
    URI address;
    try {
      address = new URI(bridge);
    } catch (URISyntaxException e) {
      address = URI.create("");
    }
    boolean https = "https".equalsIgnoreCase(address.getScheme());
    if (address.getHost() == null || !https && !"http".equalsIgnoreCase(address.getScheme())) {
      return List.of(PREFIX + "bridge: \"" + bridge + "\" is no address; write " + BRIDGE + " for a bridge in the same pod, or https://HOST:9092");
    }
    if (!https) {
      return loopback(address.getHost()) ? List.of() : List.of(PREFIX + "bridge: \"" + bridge + "\" is not in this pod, and over a network only https is spoken, with certificates on both sides: "
          + "write https://, set plugin.mutualTLS at the bridge, and certificateFile, keyFile and caFile here (" + Preconditions.IDENTITY + ")");
    }
    List<String> found = new ArrayList<>();
    for (String name : List.of("certificateFile", "keyFile", "caFile")) {
      if (file(env, name) == null) {
        found.add(PREFIX + name + ": is not set, and the bridge is called by https; \"fairlead plugin certificate\" makes the three files (" + Preconditions.IDENTITY + ")");
      }
    }
    return found;
  }

  private static boolean loopback(String host) {
    return host.equalsIgnoreCase("localhost") || host.matches("127(\\.\\d{1,3}){3}") || host.equals("[::1]");
  }

  private static long positive(Environment env, String key, long otherwise) {
    String value = env.getProperty(key);
    try {
      if (value == null || Long.parseLong(value.trim()) > 0) {
        return value == null ? otherwise : Long.parseLong(value.trim());
      }
    } catch (NumberFormatException e) { // said below
    }
    log.error("Fairlead: {} is \"{}\", a positive whole number is needed; {} is used", key, value, otherwise);
    return otherwise;
  }

  /** A misspelt key must not be taken for a default in silence. */
  private static void warnOfUnknownKeys(Environment env) {
    if (!(env instanceof ConfigurableEnvironment)) {
      return;
    }
    TreeSet<String> unknown = new TreeSet<>();
    for (PropertySource<?> source : ((ConfigurableEnvironment) env).getPropertySources()) {
      if (source instanceof EnumerablePropertySource) {
        for (String name : ((EnumerablePropertySource<?>) source).getPropertyNames()) {
          if (name.startsWith(PREFIX) && !KEYS.contains(name.substring(PREFIX.length()))) {
            unknown.add(name);
          }
        }
      }
    }
    unknown.forEach(name -> log.warn("Fairlead: {} is not a setting of this plugin and has no effect; known are {}", name, KEYS));
  }
}
