package io.fairlead.clouddriver;

import java.util.ArrayList;
import java.util.List;
import org.springframework.core.env.Environment;

/** What this Clouddriver must be like for the plugin to run in it. Each obstacle names the key to change. */
final class Preconditions {
  static final String GUIDE = "https://github.com/fairlead/fairlead/blob/main/docs/install.md";
  static final String IDENTITY = "https://github.com/fairlead/fairlead/blob/main/docs/identity.md#the-plugins-endpoint";

  private Preconditions() {}

  /** Why the plugin must not run; empty when it may. */
  static List<String> obstacles(Environment env) {
    List<String> found = new ArrayList<>(Settings.obstacles(env));
    // Two plugins that both take the place of kubectl and of the account source would each undo what the other does.
    if (is(env, "spinnaker.extensibility.plugins.Armory.Kubesvc.enabled")) {
      found.add("the plugin Armory.Kubesvc is active: set spinnaker.extensibility.plugins.Armory.Kubesvc.enabled to false (" + GUIDE + "#armory)");
    }
    if (is(env, "armory.kubesvc.enabled")) {
      found.add("the Scale Agent that is built into this Clouddriver is active: set armory.kubesvc.enabled to false (" + GUIDE + "#armory)");
    }
    // The bridges write the tables of Clouddriver's SQL cache.
    if (!is(env, "sql.enabled") || "false".equals(env.getProperty("sql.cache.enabled", "false").trim())) {
      found.add("Clouddriver's cache is not in SQL, and agents' inventory is written there: set sql.enabled and sql.cache.enabled to true with a MySQL database, "
          + "and redis.cache.enabled to false (" + GUIDE + "#mysql)");
      return found;
    }
    String url = env.getProperty("sql.connectionPools.default.jdbcUrl", env.getProperty("sql.connection-pools.default.jdbc-url", ""));
    if (!url.isBlank() && !url.startsWith("jdbc:mysql:") && !url.startsWith("jdbc:mariadb:") && !url.startsWith("jdbc:aws-wrapper:mysql:")) {
      found.add("Clouddriver's database is not MySQL (sql.connectionPools.default.jdbcUrl begins with \"" + url.split("//", 2)[0] + "\"): bridges write MySQL's and MariaDB's dialect only ("
          + GUIDE + "#mysql)");
    }
    return found;
  }

  private static boolean is(Environment env, String key) {
    return "true".equalsIgnoreCase(env.getProperty(key, "false").trim());
  }
}
