package io.fairlead.clouddriver;

import com.netflix.spinnaker.credentials.Credentials;
import com.netflix.spinnaker.credentials.definition.AbstractCredentialsLoader;
import com.netflix.spinnaker.credentials.definition.CredentialsDefinition;
import com.netflix.spinnaker.credentials.definition.CredentialsParser;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
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
  private static final Duration CALM = Duration.ofMillis(500); // changes come in herds
  private static final Duration RETRY = Duration.ofSeconds(30); // also how long a change of the repository by others goes unseen

  private final Accounts accounts;
  private final AccountSource source;
  private final Clouddriver clouddriver;
  private final Thread thread = new Thread(this, "fairlead-reloader");
  private volatile boolean stopped;

  private final Map<String, CredentialsDefinition> applied = new HashMap<>(); // used by the thread alone
  private Map<String, String> failed = Map.of();

  Reloader(Accounts accounts, AccountSource source, Clouddriver clouddriver) {
    this.accounts = accounts;
    this.source = source;
    this.clouddriver = clouddriver;
  }

  /** Clouddriver has loaded once by itself by now. */
  @Override
  public void afterSingletonsInstantiated() {
    thread.setDaemon(true);
    thread.start();
  }

  @Override
  public void run() {
    AbstractCredentialsLoader<Credentials> loader = clouddriver.loader();
    CredentialsParser<CredentialsDefinition, Credentials> parser = clouddriver.parser();
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
    boolean whole = true;
    if (changed) {
      long start = System.nanoTime();
      try {
        loader.load();
        log.info("Fairlead: Clouddriver loaded its accounts in {} ms, {} are there", (System.nanoTime() - start) / 1_000_000,
            loader.getCredentialsRepository().getAll().size());
      } catch (RuntimeException e) {
        log.error("Fairlead: Clouddriver's loader gave up, accounts are saved one by one", e);
        whole = false;
      }
    }
    Map<String, String> failures = new TreeMap<>();
    for (CredentialsDefinition account : source.getCredentialsDefinitions()) {
      String name = account.getName();
      boolean there = loader.getCredentialsRepository().has(name);
      if (!there || (applied.get(name) != account && (!whole || failed.containsKey(name)))) {
        String why = force(loader, parser, account);
        if (why != null) {
          failures.put(name, why);
          continue;
        }
      }
      applied.put(name, account);
    }
    applied.keySet().removeIf(name -> !loader.getCredentialsRepository().has(name));
    failures.forEach((name, why) -> {
      if (!why.equals(failed.get(name))) {
        log.error("Fairlead: account \"{}\" cannot be put into Clouddriver, it is tried again: {}", name, why);
      }
    });
    failed = failures;
  }

  /** Saves one account past the loader; returns why it cannot be. */
  private static String force(AbstractCredentialsLoader<Credentials> loader, CredentialsParser<CredentialsDefinition, Credentials> parser, CredentialsDefinition account) {
    try {
      Credentials credentials = parser.parse(account);
      if (credentials == null) {
        return "Clouddriver refuses it, see its log for \"" + account.getName() + "\"";
      }
      loader.getCredentialsRepository().save(credentials);
      log.info("Fairlead: account \"{}\" was saved by itself", account.getName());
      return null;
    } catch (RuntimeException e) {
      return e.toString();
    }
  }

  @Override
  public void destroy() {
    stopped = true;
    thread.interrupt();
  }
}
