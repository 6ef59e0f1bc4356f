package io.fairlead.clouddriver;

import static io.fairlead.clouddriver.AccountSourceTest.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.netflix.spinnaker.credentials.Credentials;
import com.netflix.spinnaker.credentials.CredentialsLifecycleHandler;
import com.netflix.spinnaker.credentials.CredentialsRepository;
import com.netflix.spinnaker.credentials.MapBackedCredentialsRepository;
import com.netflix.spinnaker.credentials.definition.BasicCredentialsLoader;
import com.netflix.spinnaker.credentials.definition.CredentialsDefinition;
import com.netflix.spinnaker.credentials.definition.CredentialsParser;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** With the stock loader, whose way of giving up this is about. */
class ReloaderTest {
  @TempDir Path dir;
  FakeBridge bridge;
  Accounts accounts;
  Reloader reloader;
  CredentialsRepository<Credentials> repository;
  final Set<String> failing = ConcurrentHashMap.newKeySet();
  final Set<String> refused = ConcurrentHashMap.newKeySet();

  static Credentials credentials(String name) {
    return new Credentials() {
      @Override
      public String getName() {
        return name;
      }

      @Override
      public String getType() {
        return "kubernetes";
      }
    };
  }

  @BeforeEach
  void start() throws IOException {
    bridge = new FakeBridge(dir);
    accounts = new Accounts(new Bridge(bridge.settings()), bridge.settings(Duration.ofSeconds(10)));
    AccountSource source = new AccountSource(accounts, AccountSourceTest.Managed.class, List::of);
    repository = new MapBackedCredentialsRepository<>("kubernetes", new CredentialsLifecycleHandler<>() {
      @Override
      public void credentialsAdded(Credentials c) {
        if (failing.contains(c.getName())) {
          throw new IllegalStateException("no " + c.getName());
        }
      }

      @Override
      public void credentialsUpdated(Credentials c) {}

      @Override
      public void credentialsDeleted(Credentials c) {}
    });
    CredentialsParser<CredentialsDefinition, Credentials> parser = d -> refused.contains(d.getName()) ? null : credentials(d.getName());
    BasicCredentialsLoader<CredentialsDefinition, Credentials> loader = new BasicCredentialsLoader<>(source, parser, repository);
    reloader = new Reloader(accounts, source, () -> loader, () -> parser);
  }

  @AfterEach
  void stop() {
    reloader.destroy();
    accounts.destroy();
    bridge.close();
  }

  String there() {
    return repository.getAll().stream().map(Credentials::getName).sorted().collect(Collectors.joining(" "));
  }

  @Test
  void accountsComeAndGoWithTheBridgesList() throws InterruptedException {
    bridge.lists.add(FakeBridge.list(true, "a", "b"));
    reloader.afterSingletonsInstantiated();
    eventually(() -> there().equals("a b"));
    bridge.lists.add(FakeBridge.list(true, "b", "c"));
    eventually(() -> there().equals("b c"));
  }

  @Test
  void anAccountThatCannotBeSavedOrReadKeepsNoOtherOut() throws InterruptedException {
    failing.add("a");
    refused.add("b");
    bridge.lists.add(FakeBridge.list(true, "a", "b", "c", "d"));
    reloader.afterSingletonsInstantiated();
    eventually(() -> there().equals("c d"));
    failing.clear();
    bridge.lists.add(FakeBridge.list(true, "a", "b", "c", "d", "e"));
    eventually(() -> there().equals("a c d e"));
    assertEquals("a c d e", there());
  }
}
