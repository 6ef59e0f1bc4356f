package io.fairlead.clouddriver;

import com.fasterxml.jackson.databind.JsonNode;
import com.netflix.spinnaker.cats.agent.Agent;
import com.netflix.spinnaker.cats.agent.AgentDataType;
import com.netflix.spinnaker.cats.agent.AgentExecution;
import com.netflix.spinnaker.cats.agent.CacheResult;
import com.netflix.spinnaker.cats.agent.CachingAgent;
import com.netflix.spinnaker.cats.provider.Provider;
import com.netflix.spinnaker.cats.provider.ProviderCache;
import com.netflix.spinnaker.cats.provider.ProviderRegistry;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.util.ClassUtils;

/**
 * Keeps Clouddriver's SqlUnknownAgentCleanupAgent away from the rows that bridges write. It deletes rows, by id alone, whose
 * caching agent no provider has. While it runs, and only to it, this provider shows one agent for each that has rows: to
 * everybody else they would be agents to schedule and lock. It runs only on a list that the bridge has just read from the database,
 * and as long as it runs no account gets rows that the list lacks: another pod may have brought one a moment ago.
 */
final class Anchors implements Provider {
  private static final Logger log = LoggerFactory.getLogger(Anchors.class);

  /** How long the bridge's list may take. */
  private static final Duration PATIENCE = Duration.ofSeconds(20);

  private final Bridge bridge;
  private final ThreadLocal<List<Agent>> cleaning = ThreadLocal.withInitial(List::of);

  Anchors(Bridge bridge) {
    this.bridge = bridge;
  }

  /** Not a name of its own: each provider's name gets a cache. */
  @Override
  public String getProviderName() {
    return Clouddriver.PROVIDER_NAME;
  }

  @Override
  public Collection<Agent> getAgents() {
    return cleaning.get();
  }

  private static List<Agent> anchors(JsonNode list) {
    List<Agent> agents = new ArrayList<>();
    for (JsonNode account : list.path("accounts")) {
      List<AgentDataType> types = new ArrayList<>();
      account.path("types").forEach(t -> types.add(AgentDataType.Authority.AUTHORITATIVE.forType(t.asText())));
      account.path("cachingAgents").forEach(name -> agents.add(new Anchor(name.asText(), types)));
    }
    return agents;
  }

  /** Stands in for the cleanup bean. */
  Object guard(Object cleanup) {
    Class<?>[] interfaces = ClassUtils.getAllInterfaces(cleanup);
    log.info("Fairlead: {} is guarded", cleanup.getClass().getSimpleName());
    return Proxy.newProxyInstance(cleanup.getClass().getClassLoader(), interfaces, (proxy, method, arguments) ->
        method.getName().equals("run") && method.getParameterCount() == 0
            ? run(() -> invoke(cleanup, method, arguments))
            : invoke(cleanup, method, arguments));
  }

  private interface Call {
    Object make() throws Throwable;
  }

  private Object run(Call call) throws Throwable {
    try (Bridge.Stream held = hold()) {
      return held == null ? null : call.make();
    } finally {
      cleaning.remove();
    }
  }

  /** Shows the anchors of every account to this thread, and keeps new ones waiting until the stream is closed; null when the cleanup must not run. */
  private Bridge.Stream hold() {
    Bridge.Stream held = null;
    try {
      held = bridge.stream("HoldNewAccounts", Map.of(), PATIENCE);
      JsonNode list = held.next();
      if (list == null || !list.path("complete").asBoolean()) {
        throw new IOException("the bridge does not know all accounts");
      }
      cleaning.set(anchors(list));
      return held;
    } catch (IOException e) {
      log.warn("Fairlead: the cleanup of unknown agents' rows is held back: the list of accounts is not complete ({})", e.getMessage());
      if (held != null) {
        held.close();
      }
      return null;
    }
  }

  private static Object invoke(Object target, Method method, Object[] arguments) throws Throwable {
    try {
      return method.invoke(target, arguments);
    } catch (InvocationTargetException e) {
      throw e.getCause();
    }
  }

  private static final class Anchor implements CachingAgent {
    private final String name;
    private final Collection<AgentDataType> types;

    Anchor(String name, Collection<AgentDataType> types) {
      this.name = name;
      this.types = types;
    }

    @Override
    public String getAgentType() {
      return name;
    }

    @Override
    public String getProviderName() {
      return Clouddriver.PROVIDER_NAME;
    }

    @Override
    public Collection<AgentDataType> getProvidedDataTypes() {
      return types;
    }

    @Override
    public CacheResult loadData(ProviderCache cache) {
      throw new UnsupportedOperationException(name + " has its rows from a bridge");
    }

    @Override
    public AgentExecution getAgentExecution(ProviderRegistry registry) {
      return agent -> {};
    }
  }
}
