package io.fairlead.clouddriver;

import com.netflix.spinnaker.credentials.Credentials;
import com.netflix.spinnaker.credentials.definition.AbstractCredentialsLoader;
import com.netflix.spinnaker.credentials.definition.CredentialsDefinition;
import com.netflix.spinnaker.credentials.definition.CredentialsParser;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.beans.factory.DisposableBean;
import org.springframework.beans.factory.SmartInitializingSingleton;

/**
 * Makes Clouddriver load its accounts when the bridge's list changes, and sees to it that all of them are there afterwards: the
 * stock loader stops at the first account whose saving fails, and takes what it did not save for saved.
 */
final class Reloader implements SmartInitializingSingleton, DisposableBean, Runnable {
  private static final Logger log = LoggerFactory.getLogger(Reloader.class);
  private static final Duration CALM = Duration.ofMillis(200); // changes come in herds
  private static final Duration RETRY = Duration.ofSeconds(30); // also how long a change of the repository by others goes unseen

  private final Accounts accounts;
  private final AccountSource source;
  private final Supplier<AbstractCredentialsLoader<Credentials>> loaders;
  private final Supplier<CredentialsParser<CredentialsDefinition, Credentials>> parsers;
  private final Thread thread = new Thread(this, "fairlead-reloader");
  private volatile boolean stopped;

  // Accounts that are in the repository as they are here, or that Clouddriver refuses as they are here. Used by the thread alone.
  private final Map<String, CredentialsDefinition> settled = new HashMap<>();
  private final Set<String> refused = new HashSet<>();

  /** The last two give null where the Kubernetes provider is off. */
  Reloader(Accounts accounts, AccountSource source, Supplier<AbstractCredentialsLoader<Credentials>> loaders,
      Supplier<CredentialsParser<CredentialsDefinition, Credentials>> parsers) {
    this.accounts = accounts;
    this.source = source;
    this.loaders = loaders;
    this.parsers = parsers;
  }

  /** Clouddriver has loaded once by itself by now. */
  @Override
  public void afterSingletonsInstantiated() {
    thread.setDaemon(true);
    thread.start();
  }

  @Override
  public void run() {
    AbstractCredentialsLoader<Credentials> loader = loaders.get();
    CredentialsParser<CredentialsDefinition, Credentials> parser = parsers.get();
    if (loader == null || parser == null) {
      log.error("Fairlead: Clouddriver's Kubernetes provider is off (kubernetes.enabled): accounts of agents cannot be used");
      return;
    }
    long seen = -1;
    while (!stopped) {
      long now = accounts.awaitNewer(seen, RETRY);
      boolean changed = now > seen;
      try {
        if (changed) {
          Thread.sleep(CALM.toMillis());
          seen = accounts.awaitNewer(-1, Duration.ZERO);
        }
        // One load at a time; Clouddriver's own poller, where it is on, goes by the same lock from 2026 on only.
        synchronized (loader) {
          reload(loader, parser, changed);
        }
      } catch (InterruptedException e) {
        return;
      } catch (RuntimeException e) {
        log.error("Fairlead: accounts could not be reloaded, next try in {}s", RETRY.toSeconds(), e);
      }
    }
  }

  private void reload(AbstractCredentialsLoader<Credentials> loader, CredentialsParser<CredentialsDefinition, Credentials> parser, boolean changed) {
    boolean loaded = false;
    if (changed) {
      try {
        loader.load();
        loaded = true;
        log.info("Fairlead: Clouddriver loaded its accounts, {} are there", loader.getCredentialsRepository().getAll().size());
      } catch (RuntimeException e) {
        log.error("Fairlead: Clouddriver's loader gave up, accounts are saved one by one", e);
      }
    }
    Set<String> names = new HashSet<>();
    for (CredentialsDefinition account : source.getCredentialsDefinitions()) {
      String name = account.getName();
      names.add(name);
      boolean there = loader.getCredentialsRepository().has(name);
      boolean same = account.equals(settled.get(name)) && (there || refused.contains(name));
      if (same || (loaded && there) || save(loader, parser, account)) {
        settled.put(name, account);
      }
    }
    settled.keySet().retainAll(names);
    refused.retainAll(names);
  }

  /** Saves one account past the loader; false when it is to be tried again. */
  private boolean save(AbstractCredentialsLoader<Credentials> loader, CredentialsParser<CredentialsDefinition, Credentials> parser, CredentialsDefinition account) {
    String name = account.getName();
    try {
      Credentials credentials = parser.parse(account);
      if (credentials == null) {
        refused.add(name);
        log.error("Fairlead: account \"{}\" is refused by Clouddriver as it is declared, the lines above say why", name);
        return true;
      }
      loader.getCredentialsRepository().save(credentials);
      refused.remove(name);
      log.info("Fairlead: account \"{}\" was saved by itself", name);
      return true;
    } catch (RuntimeException e) {
      log.error("Fairlead: account \"{}\" cannot be put into Clouddriver, next try in {}s: {}", name, RETRY.toSeconds(), e.toString());
      return false;
    }
  }

  @Override
  public void destroy() {
    stopped = true;
    thread.interrupt();
  }
}
