package io.fairlead.clouddriver;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.netflix.spinnaker.credentials.definition.CredentialsDefinition;
import com.netflix.spinnaker.credentials.definition.CredentialsDefinitionSource;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Clouddriver's source of Kubernetes accounts: the bridge's, and those of Clouddriver's own configuration. The bridge's come
 * first, because the stock loader gives up at the first account whose saving fails. An account is the same instance while it
 * is unchanged, because the stock one compares, and some definitions never equal themselves.
 */
final class AccountSource implements CredentialsDefinitionSource<CredentialsDefinition> {
  private static final Logger log = LoggerFactory.getLogger(AccountSource.class);
  // Clouddrivers differ in what an account may have.
  private static final ObjectMapper LENIENT = new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);

  private static final class Made {
    JsonNode from;
    CredentialsDefinition account; // null: Clouddriver cannot read the definition
  }

  private final Accounts accounts;
  private final Class<?> managedAccount;
  private final Supplier<List<?>> configured;
  // below: guarded by this
  private final Map<String, Made> made = new HashMap<>();
  private final Set<String> said = new HashSet<>();
  private boolean started;

  AccountSource(Accounts accounts, Class<?> managedAccount, Supplier<List<?>> configured) {
    this.accounts = accounts;
    this.managedAccount = managedAccount;
    this.configured = configured;
  }

  @Override
  public synchronized List<CredentialsDefinition> getCredentialsDefinitions() {
    if (!started) {
      accounts.awaitComplete();
      started = true;
    }
    List<CredentialsDefinition> own = new ArrayList<>();
    configured.get().forEach(a -> own.add((CredentialsDefinition) a));
    Map<String, String> ownNames = new HashMap<>(); // folded as the database folds
    own.forEach(a -> ownNames.put(fold(a.getName()), a.getName()));

    List<CredentialsDefinition> all = new ArrayList<>();
    Set<String> names = new HashSet<>();
    for (JsonNode known : accounts.known()) {
      String name = known.path("name").asText();
      String same = ownNames.get(fold(name));
      if (same != null && !same.equals(name)) {
        once("Fairlead: account \"{}\" of an agent is refused: Clouddriver's configuration has \"{}\", and their rows would mix; rename one", name, same);
        continue;
      }
      CredentialsDefinition account = make(name, known.path("definition"));
      if (account != null) {
        all.add(account);
        names.add(name);
      }
    }
    made.keySet().retainAll(names(accounts));
    for (CredentialsDefinition account : own) {
      if (names.contains(account.getName())) {
        once("Fairlead: account \"{}\" of Clouddriver's configuration is replaced by the agent's of the same name{}", account.getName(), "");
      } else {
        all.add(account);
      }
    }
    return all;
  }

  /** The same instance while the definition is unchanged; the last good one when the new one cannot be read. */
  private CredentialsDefinition make(String name, JsonNode definition) {
    Made m = made.computeIfAbsent(name, n -> new Made());
    if (!definition.equals(m.from)) {
      m.from = definition;
      try {
        m.account = (CredentialsDefinition) LENIENT.convertValue(definition, managedAccount);
      } catch (IllegalArgumentException e) {
        log.error("Fairlead: account \"{}\": Clouddriver cannot read its definition, {}: {}", name,
            m.account == null ? "it is left out" : "the last good one stays", e.getMessage());
      }
    }
    return m.account;
  }

  private static Set<String> names(Accounts accounts) {
    Set<String> names = new HashSet<>();
    accounts.known().forEach(a -> names.add(a.path("name").asText()));
    return names;
  }

  private void once(String text, String a, String b) {
    if (said.add(text + a)) {
      log.warn(text, a, b);
    }
  }

  private static String fold(String name) {
    return name == null ? "" : name.toLowerCase(Locale.ROOT);
  }
}
