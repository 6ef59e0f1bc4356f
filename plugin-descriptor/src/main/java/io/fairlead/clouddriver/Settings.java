package io.fairlead.clouddriver;

import java.nio.file.Path;
import java.time.Duration;
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
  private static final List<String> KEYS = List.of("bridge", "secretFile", "stateDir", "startTimeoutSeconds");
  private static final Logger log = LoggerFactory.getLogger(Settings.class);

  /** Base URL of the bridge's plugin endpoint. */
  final String bridge;
  /** File that the bridge makes, on a volume that only the two containers mount. */
  final Path secretFile;
  /** Where the last known accounts are kept. */
  final Path stateDir;
  /** How long Clouddriver's start waits for the first complete list of accounts. */
  final Duration startTimeout;
  /** How long a command may take: Clouddriver's own limit for kubectl. */
  final Duration commandTimeout;

  Settings(String bridge, Path secretFile, Path stateDir, Duration startTimeout, Duration commandTimeout) {
    this.bridge = bridge.replaceAll("/+$", "");
    this.secretFile = secretFile;
    this.stateDir = stateDir;
    this.startTimeout = startTimeout;
    this.commandTimeout = commandTimeout;
  }

  static Settings read(Environment env) {
    warnOfUnknownKeys(env);
    Path secretFile = Path.of(env.getProperty(PREFIX + "secretFile", "/var/run/fairlead/secret"));
    String stateDir = env.getProperty(PREFIX + "stateDir");
    return new Settings(
        env.getProperty(PREFIX + "bridge", "http://127.0.0.1:9092"),
        secretFile,
        stateDir != null ? Path.of(stateDir) : secretFile.toAbsolutePath().getParent(),
        Duration.ofSeconds(positive(env, PREFIX + "startTimeoutSeconds", 60)),
        Duration.ofMinutes(positive(env, "jobs.local.timeout-minutes", 10)));
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
