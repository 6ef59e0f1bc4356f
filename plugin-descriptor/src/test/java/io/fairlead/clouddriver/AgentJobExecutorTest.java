package io.fairlead.clouddriver;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.netflix.spinnaker.clouddriver.jobs.JobExecutionException;
import com.netflix.spinnaker.clouddriver.jobs.JobExecutor;
import com.netflix.spinnaker.clouddriver.jobs.JobRequest;
import com.netflix.spinnaker.clouddriver.jobs.JobResult;
import com.netflix.spinnaker.clouddriver.jobs.local.ReaderConsumer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AgentJobExecutorTest {
  @TempDir Path dir;
  FakeBridge bridge;
  AgentJobExecutor executor;

  static final JobResult<String> STOCK = JobResult.<String>builder().result(JobResult.Result.SUCCESS).output("stock").error("").build();

  @BeforeEach
  void start() throws IOException {
    bridge = new FakeBridge(dir);
    JobExecutor stock = new JobExecutor() {
      @Override
      public JobResult<String> runJob(JobRequest request) {
        return STOCK;
      }

      @Override
      public <T> JobResult<T> runJob(JobRequest request, ReaderConsumer<T> consumer) {
        throw new IllegalStateException("stock");
      }
    };
    executor = new AgentJobExecutor(stock, new Bridge(bridge.settings()), Duration.ofSeconds(20));
  }

  @AfterEach
  void stop() {
    bridge.close();
  }

  static JobRequest request(String... command) {
    return new JobRequest(List.of(command));
  }

  JobResult<List<String>> lines(String... command) {
    return executor.runJob(request(command), reader -> reader.lines().collect(Collectors.toList()));
  }

  @Test
  void otherCommandsGoWhereTheyWent() {
    assertSame(STOCK, executor.runJob(request("kubectl", "get", "pod")));
  }

  @Test
  void aProgramThatCannotBeStartedFailsItsCommandAndNothingElse() {
    RuntimeException[] thrown = {new JobExecutionException("Error executing job", new IOException("Cannot run program \"/nonexistent/kubectl\": error=2, No such file or directory"))};
    JobExecutor stock = new JobExecutor() {
      @Override
      public JobResult<String> runJob(JobRequest request) {
        throw thrown[0];
      }

      @Override
      public <T> JobResult<T> runJob(JobRequest request, ReaderConsumer<T> consumer) {
        throw thrown[0];
      }
    };
    executor = new AgentJobExecutor(stock, new Bridge(bridge.settings()), Duration.ofSeconds(20));
    JobResult<String> text = executor.runJob(request("/nonexistent/kubectl", "get", "namespace"));
    assertEquals(JobResult.Result.FAILURE, text.getResult());
    assertEquals("", text.getOutput());
    assertTrue(text.getError().contains("Cannot run program \"/nonexistent/kubectl\""), text.getError());
    JobResult<List<String>> list = lines("/nonexistent/kubectl", "get", "namespace");
    assertEquals(List.of(), list.getOutput());
    assertFalse(list.isKilled());
    thrown[0] = new JobExecutionException("Error executing job", new IOException("broken pipe"));
    assertSame(thrown[0], assertThrows(JobExecutionException.class, () -> executor.runJob(request("kubectl"))));
  }

  @Test
  void aCommandAndItsInputAreSentWholeAndAnsweredWhole() {
    bridge.execute = (request, out) -> {
      FakeBridge.frame(out, "stdout", "{\"a\":");
      FakeBridge.frame(out, "stderr", "Warning: careful\n");
      FakeBridge.frame(out, "stdout", "\"ä\"}");
      FakeBridge.exit(out, "{}");
    };
    JobRequest request = new JobRequest(List.of("agent://prod", "apply", "-o", "json", "-f", "-"), new ByteArrayInputStream("kind: Ä".getBytes(StandardCharsets.UTF_8)));
    JobResult<String> result = executor.runJob(request);
    assertEquals(JobResult.Result.SUCCESS, result.getResult());
    assertEquals("{\"a\":\"ä\"}", result.getOutput());
    assertEquals("Warning: careful\n", result.getError());
    assertFalse(result.isKilled());
    assertEquals(Map.of("account", "prod", "arguments", List.of("apply", "-o", "json", "-f", "-"), "stdin", "a2luZDogw4Q=", "timeoutMs", 20000),
        Bridge.JSON.convertValue(bridge.requests.get(0), Map.class));
    assertEquals("Bearer the secret", bridge.secrets.get(0));
  }

  @Test
  void theConsumerReadsWhileTheCommandRuns() throws Exception {
    CountDownLatch firstRead = new CountDownLatch(1);
    bridge.execute = (request, out) -> {
      FakeBridge.frame(out, "stdout", "one\n");
      assertTrue(firstRead.await(10, TimeUnit.SECONDS), "the first line was not read before the second was sent");
      FakeBridge.frame(out, "stdout", "two\n");
      FakeBridge.exit(out, "{}");
    };
    JobResult<List<String>> result = executor.runJob(request("agent://a", "get", "pod"), reader -> {
      List<String> all = new ArrayList<>();
      all.add(reader.readLine());
      firstRead.countDown();
      all.add(reader.readLine());
      return all;
    });
    assertEquals(List.of("one", "two"), result.getOutput());
  }

  @Test
  void aConsumerMayCloseBeforeTheEnd() {
    bridge.execute = (request, out) -> {
      FakeBridge.frame(out, "stdout", "{}\n");
      FakeBridge.frame(out, "stdout", "more\n");
      FakeBridge.frame(out, "stderr", "said at the end");
      FakeBridge.exit(out, "{}");
    };
    JobResult<String> result = executor.runJob(request("agent://a", "get", "pod"), reader -> {
      try (reader) {
        return reader.readLine();
      }
    });
    assertEquals(JobResult.Result.SUCCESS, result.getResult());
    assertEquals("{}", result.getOutput());
    assertEquals("said at the end", result.getError());
  }

  @Test
  void aConsumerThatClosesItsReaderEarlyDoesNotMissTheExit() {
    bridge.execute = (request, out) -> {
      FakeBridge.frame(out, "stdout", "one\ntwo\n");
      Thread.sleep(200);
      FakeBridge.frame(out, "stderr", "Warning: late\n");
      FakeBridge.exit(out, "{}");
    };
    JobResult<String> result = executor.runJob(request("agent://a", "get", "pod"), reader -> {
      try (reader) {
        return reader.readLine();
      }
    });
    assertEquals(JobResult.Result.SUCCESS, result.getResult(), result.getError());
    assertEquals("one", result.getOutput());
    assertEquals("Warning: late\n", result.getError());
  }

  @Test
  void muchOutputComesThrough() {
    String line = "x".repeat(60_000) + "\n";
    bridge.execute = (request, out) -> {
      for (int i = 0; i < 300; i++) {
        FakeBridge.frame(out, "stdout", line);
      }
      FakeBridge.exit(out, "{}");
    };
    assertEquals(300L * line.length(), executor.runJob(request("agent://a", "get", "pod")).getOutput().length());
  }

  @Test
  void aFailureIsTextAndTheConsumerIsCalledAllTheSame() {
    bridge.execute = (request, out) -> {
      FakeBridge.frame(out, "stderr", "Error from server (NotFound): pods \"x\" not found\n");
      FakeBridge.exit(out, "{\"code\":1}");
    };
    JobResult<List<String>> result = lines("agent://a", "-o", "json", "get", "pod", "x");
    assertEquals(JobResult.Result.FAILURE, result.getResult());
    assertEquals(List.of(), result.getOutput());
    assertEquals("Error from server (NotFound): pods \"x\" not found\n", result.getError());
    assertFalse(result.isKilled());
  }

  @Test
  void whatTheBridgeSaysMayRunAgainMayRunAgain() {
    bridge.execute = (request, out) -> FakeBridge.exit(out, "{\"code\":1,\"killed\":true}");
    assertTrue(lines("agent://a", "delete", "pod/x").isKilled());
  }

  @Test
  void aBridgeThatIsAwayIsAFailureOfWhatDidNotBegin() {
    bridge.stop();
    JobResult<List<String>> result = lines("agent://a", "delete", "pod/x");
    assertEquals(JobResult.Result.FAILURE, result.getResult());
    assertEquals(List.of(), result.getOutput());
    assertTrue(result.isKilled());
    assertTrue(result.getError().startsWith("error: account \"a\": the bridge at http://127.0.0.1"), result.getError());
    assertTrue(result.getError().endsWith("; the command was not started\n"), result.getError());
  }

  @Test
  void aMissingSecretIsNamed() throws IOException {
    Files.delete(dir.resolve("secret"));
    JobResult<String> result = executor.runJob(request("agent://a", "delete", "pod/x"));
    assertTrue(result.isKilled());
    assertTrue(result.getError().contains(dir.resolve("secret").toString()), result.getError());
  }

  @Test
  void aRefusedCallDidNotBegin() {
    bridge.execute = (request, out) -> FakeBridge.envelope(out, 2, "{\"error\":{\"code\":\"unauthenticated\",\"message\":\"wrong secret\"}}");
    JobResult<String> result = executor.runJob(request("agent://a", "apply"));
    assertTrue(result.isKilled());
    assertEquals("error: account \"a\": the bridge refused: wrong secret (unauthenticated); the command was not started\n", result.getError());
    bridge.status = 403;
    assertTrue(executor.runJob(request("agent://a", "apply")).isKilled());
  }

  @Test
  void aBrokenAnswerLetsOnlyReadsRunAgain() {
    bridge.execute = (request, out) -> FakeBridge.frame(out, "stdout", "half");
    JobResult<String> read = executor.runJob(request("agent://a", "--namespace=x", "-o", "json", "get", "pod"));
    assertEquals(JobResult.Result.FAILURE, read.getResult());
    assertTrue(read.isKilled());
    assertEquals("", read.getOutput());
    JobResult<String> mutation = executor.runJob(request("agent://a", "--namespace=get", "-v", "9", "delete", "pod/get"));
    assertFalse(mutation.isKilled());
    assertTrue(mutation.getError().contains("it may have changed the cluster"), mutation.getError());
  }

  @Test
  void anErrorOfTheCallAfterOutputProvesNothing() {
    bridge.execute = (request, out) -> {
      FakeBridge.frame(out, "stdout", "half");
      FakeBridge.envelope(out, 2, "{\"error\":{\"code\":\"internal\",\"message\":\"oh\"}}");
    };
    assertFalse(executor.runJob(request("agent://a", "apply")).isKilled());
  }

  @Test
  void aSilentBridgeIsGivenUp() {
    CountDownLatch never = new CountDownLatch(1);
    bridge.execute = (request, out) -> never.await();
    AgentJobExecutor hasty = new AgentJobExecutor(null, new Bridge(bridge.settings()), Duration.ofMillis(300).minus(Duration.ofSeconds(30)));
    JobResult<String> result = hasty.runJob(request("agent://a", "apply"));
    assertEquals(JobResult.Result.FAILURE, result.getResult());
    assertFalse(result.isKilled());
  }

  @Test
  void outputThatCannotBeReadIsAFailureNotAnException() {
    bridge.execute = (request, out) -> {
      FakeBridge.frame(out, "stdout", "no json");
      FakeBridge.exit(out, "{}");
    };
    JobResult<String> result = executor.runJob(request("agent://a", "get", "pod"), reader -> {
      String text = reader.readLine();
      if (text != null) {
        throw new IllegalStateException("not JSON: " + text);
      }
      return "nothing";
    });
    assertEquals(JobResult.Result.FAILURE, result.getResult());
    assertEquals("nothing", result.getOutput());
    assertTrue(result.getError().contains("not JSON: no json"), result.getError());
  }

  @Test
  void readsAreToldFromWhatMayChangeACluster() {
    for (String line : List.of("get pod", "-o json get pod", "--namespace=n logs p -c=c", "-n n top po", "--namespace=n rollout history deployment/d", "-v 9 rollout history deployment/d")) {
      assertTrue(AgentJobExecutor.reads(List.of(line.split(" "))), line);
    }
    for (String line : List.of("apply -f -", "rollout undo deployment/d", "rollout pause deployment/history", "scale d/x", "patch d history", "rollout", "--namespace=n", "history")) {
      assertFalse(AgentJobExecutor.reads(List.of(line.split(" "))), line);
    }
  }
}
