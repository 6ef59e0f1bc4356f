package io.fairlead.clouddriver;

import com.fasterxml.jackson.databind.JsonNode;
import com.netflix.spinnaker.clouddriver.jobs.JobExecutionException;
import com.netflix.spinnaker.clouddriver.jobs.JobExecutor;
import com.netflix.spinnaker.clouddriver.jobs.JobRequest;
import com.netflix.spinnaker.clouddriver.jobs.JobResult;
import com.netflix.spinnaker.clouddriver.jobs.local.ReaderConsumer;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.slf4j.MDC;

/**
 * Sends the commands of agents' accounts to the bridge, and all others where they went before.
 *
 * <p>What Clouddriver relies on: output and error are never null; the consumer is always called; what fails in a cluster, at an
 * agent or at the bridge is a FAILURE with text, never an exception; killed, which lets Clouddriver run the command again, is
 * set only for reads and for what provably did not begin.
 */
final class AgentJobExecutor implements JobExecutor {
  static final String SCHEME = "agent://";
  private static final Logger log = LoggerFactory.getLogger(AgentJobExecutor.class);
  private static final Set<String> READS = Set.of("get", "logs", "top");
  private static final Set<String> FLAGS_WITH_VALUE = Set.of("-o", "-v", "-n", "--namespace", "--output", "--request-timeout");
  /** The bridge ends a command by itself; this much later it counts as gone. */
  private static final Duration GRACE = Duration.ofSeconds(30);
  private static final int MAXIMUM_ERROR = 1 << 20;

  private final JobExecutor delegate;
  private final Bridge bridge;
  private final Duration timeout;

  AgentJobExecutor(JobExecutor delegate, Bridge bridge, Duration timeout) {
    this.delegate = delegate;
    this.bridge = bridge;
    this.timeout = timeout;
  }

  @Override
  public JobResult<String> runJob(JobRequest request) {
    return ours(request) ? run(request, AgentJobExecutor::text) : stock(AgentJobExecutor::text, () -> delegate.runJob(request));
  }

  @Override
  public <T> JobResult<T> runJob(JobRequest request, ReaderConsumer<T> consumer) {
    return ours(request) ? run(request, consumer) : stock(consumer, () -> delegate.runJob(request, consumer));
  }

  /**
   * Runs a command of Clouddriver's own. A program that cannot be started is a failure like any other: the exception for it would end Clouddriver's start
   * when it asks an account for its namespaces, and all other accounts with it.
   */
  private static <T> JobResult<T> stock(ReaderConsumer<T> consumer, Supplier<JobResult<T>> run) {
    try {
      return run.get();
    } catch (JobExecutionException e) {
      String reason = notStarted(e);
      if (reason == null) {
        throw e;
      }
      log.warn("Fairlead: a command of an account of Clouddriver's own cannot be started: {}", reason);
      return JobResult.<T>builder().result(JobResult.Result.FAILURE).output(nothing(consumer)).error("error: " + reason + "\n").killed(false).build();
    }
  }

  /** Why a program could not be started, as ProcessBuilder words it; null: it was. */
  private static String notStarted(Throwable e) {
    for (Throwable cause = e; cause != null; cause = cause.getCause()) {
      if (cause instanceof IOException && cause.getMessage() != null && cause.getMessage().startsWith("Cannot run program")) {
        return cause.getMessage();
      }
    }
    return null;
  }

  private static boolean ours(JobRequest request) {
    List<String> command = request.getTokenizedCommand();
    return command != null && !command.isEmpty() && command.get(0) != null && command.get(0).startsWith(SCHEME);
  }

  private static String text(BufferedReader reader) throws IOException {
    StringWriter all = new StringWriter();
    reader.transferTo(all);
    return all.toString();
  }

  private <T> JobResult<T> run(JobRequest request, ReaderConsumer<T> consumer) {
    String account = request.getTokenizedCommand().get(0).substring(SCHEME.length());
    List<String> arguments = request.getTokenizedCommand().subList(1, request.getTokenizedCommand().size());
    boolean read = reads(arguments);
    Command command = new Command(Instant.now().plus(timeout).plus(GRACE));
    T output = null;
    try {
      command.stream = bridge.stream("Execute", message(account, arguments, request), timeout.plus(GRACE));
      output = consumer.consume(new BufferedReader(new InputStreamReader(new Unclosed(command), StandardCharsets.UTF_8)));
      command.transferTo(OutputStream.nullOutputStream()); // a consumer may leave before the end; the exit comes last
    } catch (Exception e) {
      command.failed(e, account, read);
    } finally {
      command.end();
    }
    boolean success = command.exited && command.code == 0 && command.failure == null;
    if (output == null) {
      output = nothing(consumer);
    }
    if (command.failure != null) {
      log.warn("Fairlead: command for account \"{}\" failed: {}", account, command.failure);
    }
    return JobResult.<T>builder()
        .result(success ? JobResult.Result.SUCCESS : JobResult.Result.FAILURE)
        .output(output)
        .error(command.error())
        .killed(command.killed)
        .build();
  }

  private Map<String, Object> message(String account, List<String> arguments, JobRequest request) throws IOException {
    Map<String, Object> message = new HashMap<>();
    message.put("account", account);
    message.put("arguments", arguments);
    message.put("timeoutMs", timeout.toMillis());
    if (request.getInputStream() != null) {
      message.put("stdin", request.getInputStream().readAllBytes()); // base64 by Jackson, as the protocol has it
    }
    if (MDC.get("X-SPINNAKER-USER") != null) {
      message.put("user", MDC.get("X-SPINNAKER-USER"));
    }
    if (MDC.get("X-SPINNAKER-EXECUTION-ID") != null) {
      message.put("execution", MDC.get("X-SPINNAKER-EXECUTION-ID"));
    }
    return message;
  }

  /** What the consumer makes of no output: an empty list, an empty text. */
  private static <T> T nothing(ReaderConsumer<T> consumer) {
    try {
      return consumer.consume(new BufferedReader(new StringReader("")));
    } catch (IOException e) {
      throw new JobExecutionException("Error parsing output of job: even no output cannot be read", e);
    }
  }

  /** Whether the command changes nothing. "rollout" alone needs its second word to tell. */
  static boolean reads(List<String> arguments) {
    boolean rollout = false;
    for (int i = 0; i < arguments.size(); i++) {
      String argument = arguments.get(i);
      if (!argument.startsWith("-")) {
        if (rollout || !argument.equals("rollout")) {
          return rollout ? argument.equals("history") : READS.contains(argument);
        }
        rollout = true;
      }
      if (FLAGS_WITH_VALUE.contains(argument)) {
        i++;
      }
    }
    return false;
  }

  /** Consumers close what they read ({@link ReaderConsumer} says so), Clouddriver's list as soon as its JSON ends: the exit is still to come. */
  private static final class Unclosed extends FilterInputStream {
    Unclosed(InputStream in) {
      super(in);
    }

    @Override
    public void close() {
      // the command is closed by who opened it
    }
  }

  /** A running command; reading it is reading its standard output. */
  private static final class Command extends InputStream {
    private final Instant deadline;
    private final ByteArrayOutputStream error = new ByteArrayOutputStream();
    private Bridge.Stream stream;
    private byte[] stdout = {};
    private int at;
    private boolean answered;
    private boolean exited;
    private int code;
    private boolean killed;
    private String failure;

    Command(Instant deadline) {
      this.deadline = deadline;
    }

    @Override
    public int read() throws IOException {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] to, int offset, int length) throws IOException {
      while (at == stdout.length && !exited) {
        next();
      }
      if (at == stdout.length) {
        return -1;
      }
      int n = Math.min(length, stdout.length - at);
      System.arraycopy(stdout, at, to, offset, n);
      at += n;
      return n;
    }

    private void next() throws IOException {
      stream.patience(Duration.between(Instant.now(), deadline));
      JsonNode frame = stream.next();
      if (frame == null) {
        throw new IOException("the bridge ended the answer without an exit code");
      }
      answered = true;
      if (frame.has("stdout")) {
        stdout = frame.get("stdout").binaryValue();
        at = 0;
      } else if (frame.has("stderr")) {
        byte[] more = frame.get("stderr").binaryValue();
        error.write(more, 0, Math.min(more.length, MAXIMUM_ERROR - error.size()));
      } else if (frame.has("exit")) {
        exited = true;
        code = frame.get("exit").path("code").asInt();
        killed = frame.get("exit").path("killed").asBoolean();
      }
    }

    /** Puts a failure outside of the cluster into words. */
    void failed(Exception e, String account, boolean read) {
      if (exited) {
        // The command has ended; it is its output that the consumer cannot read. Half of an answer is worth nothing, but of a
        // failed command what it said on standard error is the better text.
        failure = code != 0 ? null : "account \"" + account + "\": the output cannot be read: " + e;
        return;
      }
      boolean notBegun = e instanceof Bridge.NotTaken && !answered;
      killed = notBegun || read;
      failure = "account \"" + account + "\": " + (e.getMessage() == null ? e : e.getMessage())
          + (notBegun ? "; the command was not started" : read ? "" : "; it may have changed the cluster: look at the object before you try again");
    }

    String error() {
      String said = error.toString(StandardCharsets.UTF_8);
      return failure == null ? said : said + "error: " + failure + "\n";
    }

    /** Not close, which is what a consumer calls when it has read enough: the exit code is still to come. */
    void end() {
      if (stream != null) {
        stream.close();
      }
    }
  }
}
