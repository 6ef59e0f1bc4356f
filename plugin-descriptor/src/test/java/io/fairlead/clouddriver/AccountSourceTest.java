package io.fairlead.clouddriver;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.netflix.spinnaker.cats.agent.Agent;
import com.netflix.spinnaker.credentials.definition.CredentialsDefinition;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.springframework.boot.actuate.health.Status;

class AccountSourceTest {
  /** As Clouddriver's ManagedAccount, with what these tests look at. */
  public static class Managed implements CredentialsDefinition {
    public String name;
    public String kubectlExecutable;

    @Override
    public String getName() {
      return name;
    }
  }

  @TempDir Path dir;
  FakeBridge bridge;
  final List<Accounts> open = new ArrayList<>();
  final List<Managed> configured = new ArrayList<>();

  @BeforeEach
  void start() throws IOException {
    bridge = new FakeBridge(dir);
  }

  @AfterEach
  void stop() {
    open.forEach(Accounts::destroy);
    bridge.close();
  }

  Accounts accounts(Settings settings) {
    Accounts accounts = new Accounts(new Bridge(settings), settings);
    open.add(accounts);
    return accounts;
  }

  AccountSource source(Accounts accounts) {
    return new AccountSource(accounts, Managed.class, () -> configured);
  }

  static String names(AccountSource source) {
    return source.getCredentialsDefinitions().stream().map(CredentialsDefinition::getName).collect(Collectors.joining(" "));
  }

  static void eventually(BooleanSupplier holds) throws InterruptedException {
    long end = System.nanoTime() + Duration.ofSeconds(15).toNanos();
    while (!holds.getAsBoolean()) {
      assertTrue(System.nanoTime() < end, "never");
      Thread.sleep(10);
    }
  }

  @Test
  void theBridgesAccountsComeFirstAndWinOverConfiguredOnesOfTheirName() {
    for (String name : List.of("b", "stock", "C")) {
      Managed account = new Managed();
      account.name = name;
      configured.add(account);
    }
    bridge.lists.add(FakeBridge.list(true, "a", "b", "c"));
    AccountSource source = source(accounts(bridge.settings(Duration.ofSeconds(10))));
    assertEquals("a b stock C", names(source));
    assertEquals("agent://b", ((Managed) source.getCredentialsDefinitions().get(1)).kubectlExecutable);
  }

  @Test
  void anAccountIsTheSameInstanceWhileItIsUnchanged() throws InterruptedException {
    bridge.lists.add(FakeBridge.list(true, "a", "b"));
    Accounts accounts = accounts(bridge.settings(Duration.ofSeconds(10)));
    AccountSource source = source(accounts);
    List<CredentialsDefinition> first = source.getCredentialsDefinitions();
    long version = accounts.awaitNewer(-1, Duration.ZERO);
    bridge.lists.add(FakeBridge.list(true, "a", "b"));
    bridge.lists.add(FakeBridge.list(true, "a", "b").replace("agent://b", "agent://b2"));
    assertEquals(version + 1, accounts.awaitNewer(version, Duration.ofSeconds(10)), "a list without a change is a change");
    List<CredentialsDefinition> second = source.getCredentialsDefinitions();
    assertSame(first.get(0), second.get(0));
    assertNotSame(first.get(1), second.get(1));
  }

  @Test
  void aDefinitionThatCannotBeReadLeavesTheLastGoodOne() throws InterruptedException {
    bridge.lists.add(FakeBridge.list(true, "a"));
    Accounts accounts = accounts(bridge.settings(Duration.ofSeconds(10)));
    AccountSource source = source(accounts);
    CredentialsDefinition good = source.getCredentialsDefinitions().get(0);
    bridge.lists.add(FakeBridge.list(true, "a", "b").replace("\"agent://a\"", "{}").replace("\"agent://b\"", "[]"));
    accounts.awaitNewer(accounts.awaitNewer(-1, Duration.ZERO), Duration.ofSeconds(10));
    eventually(() -> accounts.known().size() == 2);
    assertEquals(List.of(good), source.getCredentialsDefinitions());
  }

  @Test
  void onlyACompleteListTakesAccountsOut() throws InterruptedException {
    bridge.lists.add(FakeBridge.list(true, "a", "b"));
    Accounts accounts = accounts(bridge.settings(Duration.ofSeconds(10)));
    AccountSource source = source(accounts);
    assertEquals("a b", names(source));
    bridge.lists.add(FakeBridge.list(false, "c"));
    eventually(() -> accounts.known().size() == 3);
    assertEquals("a b c", names(source));
    assertTrue(accounts.problem().contains("does not know all accounts"));
    bridge.lists.add(FakeBridge.list(true, "c"));
    eventually(() -> names(source).equals("c"));
  }

  @Test
  void aBridgeThatGoesAwayTakesNothingWithItAndIsFoundAgain() throws Exception {
    bridge.lists.add(FakeBridge.list(true, "a"));
    Accounts accounts = accounts(bridge.settings(Duration.ofSeconds(10)));
    AccountSource source = source(accounts);
    assertEquals("a", names(source));
    bridge.lists.add("");
    bridge.stop();
    eventually(() -> accounts.problem() != null);
    assertEquals("a", names(source));
    assertEquals(Status.UNKNOWN, new FairleadHealth(accounts).health().getStatus());
    bridge.start();
    bridge.lists.add(FakeBridge.list(true, "a", "b"));
    eventually(() -> names(source).equals("a b"));
    eventually(() -> accounts.status() != null);
    assertEquals(Status.UP, new FairleadHealth(accounts).health().getStatus());
    assertEquals(3, new FairleadHealth(accounts).health().getDetails().get("agents"));
  }

  @Test
  void theLastKnownAccountsAreReadFromDiskWhenTheBridgeIsAway() throws Exception {
    bridge.lists.add(FakeBridge.list(true, "a", "b"));
    Settings settings = bridge.settings();
    Accounts before = accounts(bridge.settings(Duration.ofSeconds(10)));
    source(before).getCredentialsDefinitions();
    Path file = settings.stateDir.resolve("accounts.json");
    eventually(() -> Files.exists(file));
    assertEquals("rw-------", PosixFilePermissions.toString(Files.getPosixFilePermissions(file)));
    before.destroy();
    bridge.stop();

    Accounts after = accounts(settings);
    assertEquals("a b", names(source(after)));
    try (var files = Files.list(settings.stateDir)) {
      assertEquals(1, files.count(), "something was left behind");
    }
  }

  @Test
  void aStartWithoutBridgeAndWithoutDiskIsNotHeldUpForLong() throws Exception {
    bridge.stop();
    Files.createDirectories(dir.resolve("state"));
    Files.writeString(dir.resolve("state/accounts.json"), "{broken");
    Managed account = new Managed();
    account.name = "stock";
    configured.add(account);
    long start = System.nanoTime();
    AccountSource source = source(accounts(bridge.settings()));
    assertEquals("stock", names(source));
    assertTrue(Duration.ofNanos(System.nanoTime() - start).toSeconds() < 5);
    bridge.start();
    bridge.lists.add(FakeBridge.list(true, "a"));
    eventually(() -> names(source).equals("a stock"));
  }

  public interface Cleanup {
    void run();

    String getAgentType();
  }

  @Test
  void theCleanupSeesAnAnchorForEachAgentWithRowsAndRunsOnlyOnACompleteListOfThatMoment() throws Exception {
    Anchors anchors = new Anchors(new Bridge(bridge.settings()));
    List<String> seen = new ArrayList<>();
    Cleanup cleanup = (Cleanup) anchors.guard(new Cleanup() {
      @Override
      public void run() {
        Collection<Agent> agents = anchors.getAgents();
        seen.add(agents.stream().map(Agent::getAgentType).collect(Collectors.joining(" ")));
        assertEquals(1, bridge.let.getCount(), "new accounts are held as long as it runs");
      }

      @Override
      public String getAgentType() {
        return "cleanup";
      }
    });
    assertEquals("cleanup", cleanup.getAgentType());
    bridge.held = FakeBridge.list(false, "a");
    cleanup.run();
    assertEquals(List.of(), seen);
    assertTrue(bridge.let.await(10, TimeUnit.SECONDS), "new accounts are let go");
    bridge.let = new CountDownLatch(1);
    bridge.held = FakeBridge.list(true, "a", "b");
    // A list that was good a moment ago does not count: the bridge is asked.
    bridge.status = 503;
    cleanup.run();
    assertEquals(List.of(), seen);
    bridge.status = 200;
    cleanup.run();
    assertEquals(List.of("a/Core b/Core"), seen);
    assertEquals(List.of(), anchors.getAgents(), "schedulers would schedule them");
    assertTrue(bridge.let.await(10, TimeUnit.SECONDS), "new accounts are let go");
  }
}
