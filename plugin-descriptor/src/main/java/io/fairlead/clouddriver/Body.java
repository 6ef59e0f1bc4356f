package io.fairlead.clouddriver;

import java.io.IOException;
import java.io.InputStream;
import java.net.http.HttpResponse.BodySubscriber;
import java.net.http.HttpTimeoutException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Flow;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * A response's body as it arrives. Unlike the JDK's own stream it can be read with a limit of patience, which is how a dead
 * bridge is noticed, and closing it ends the call. It holds at most one portion that was not read yet, so that the bridge
 * is slowed down by a slow reader.
 */
final class Body extends InputStream implements BodySubscriber<Body> {
  private static final List<ByteBuffer> END = new ArrayList<>(); // known by identity: portions may be empty too

  private final BlockingQueue<List<ByteBuffer>> arrived = new LinkedBlockingQueue<>();
  private final CompletableFuture<Flow.Subscription> subscribed = new CompletableFuture<>();
  private volatile Throwable failure;
  private volatile Duration patience;
  private List<ByteBuffer> portion = List.of();
  private int at;
  private boolean ended;

  Body(Duration patience) {
    this.patience = patience;
  }

  /** How long one read may wait from now on. */
  void patience(Duration d) {
    patience = d;
  }

  @Override
  public CompletionStage<Body> getBody() {
    return CompletableFuture.completedFuture(this);
  }

  @Override
  public void onSubscribe(Flow.Subscription s) {
    subscribed.complete(s);
    s.request(1);
  }

  @Override
  public void onNext(List<ByteBuffer> buffers) {
    arrived.add(buffers);
  }

  @Override
  public void onError(Throwable t) {
    failure = t;
    arrived.add(END);
  }

  @Override
  public void onComplete() {
    arrived.add(END);
  }

  @Override
  public int read() throws IOException {
    byte[] one = new byte[1];
    return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
  }

  @Override
  public int read(byte[] to, int offset, int length) throws IOException {
    if (length == 0) {
      return 0;
    }
    while (!ended && !available(length)) {
      next();
    }
    if (ended) {
      return -1;
    }
    ByteBuffer buffer = portion.get(at);
    int n = Math.min(length, buffer.remaining());
    buffer.get(to, offset, n);
    return n;
  }

  private boolean available(int length) {
    while (at < portion.size() && !portion.get(at).hasRemaining()) {
      at++;
    }
    return at < portion.size();
  }

  private void next() throws IOException {
    List<ByteBuffer> next;
    try {
      next = arrived.poll(Math.max(1, patience.toMillis()), TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
    if (next == null) {
      throw new HttpTimeoutException("nothing was heard from the bridge for " + patience.toSeconds() + "s");
    }
    if (next == END) {
      ended = true;
      if (failure != null) {
        throw new IOException(failure.getMessage() == null ? failure.toString() : failure.getMessage(), failure);
      }
      return;
    }
    portion = next;
    at = 0;
    subscribed.join().request(1);
  }

  @Override
  public void close() {
    subscribed.thenAccept(Flow.Subscription::cancel);
    arrived.add(END);
  }
}
