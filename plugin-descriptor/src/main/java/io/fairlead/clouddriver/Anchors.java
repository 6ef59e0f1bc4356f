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
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.util.ClassUtils;

/**
 * Keeps Clouddriver's SqlUnknownAgentCleanupAgent away from the rows that bridges write. It deletes rows, by id alone, whose
 * caching agent no provider has. While it runs, and only to it, this provider shows one agent for each that has rows: to
 * everybody else they would be agents to schedule and lock. It does not run while an account might be missing from the list.
 */
final class Anchors implements Provider {
  private static final Logger log = LoggerFactory.getLogger(Anchors.class);

  private final Accounts accounts;
  private final ThreadLocal<Boolean> cleaning = ThreadLocal.withInitial(() -> false);

  Anchors(Accounts accounts) {
    this.accounts = accounts;
  }

  /** Not a name of its own: each provider's name gets a cache. */
  @Override
  public String getProviderName() {
    return Clouddriver.PROVIDER_NAME;
  }

  @Override
  public Collection<Agent> getAgents() {
    List<Agent> agents = new ArrayList<>();
    if (cleaning.get()) {
      for (JsonNode account : accounts.known()) {
        List<AgentDataType> types = new ArrayList<>();
        account.path("types").forEach(t -> types.add(AgentDataType.Authority.AUTHORITATIVE.forType(t.asText())));
        account.path("cachingAgents").forEach(name -> agents.add(new Anchor(name.asText(), types)));
      }
    }
    return agents;
  }

  /** Stands in for the cleanup bean. */
  Object guard(Object cleanup) {
    Class<?>[] interfaces = ClassUtils.getAllInterfaces(cleanup);
    log.info("Fairlead: {} is guarded", cleanup.getClass().getSimpleName());
    return Proxy.newProxyInstance(cleanup.getClass().getClassLoader(), interfaces, (proxy, method, arguments) -> {
      boolean run = method.getName().equals("run") && method.getParameterCount() == 0;
      if (run && !accounts.current()) {
        log.warn("Fairlead: the cleanup of unknown agents' rows is held back: the list of accounts is not complete ({})", accounts.problem());
        return null;
      }
      cleaning.set(run);
      try {
        return method.invoke(cleanup, arguments);
      } catch (InvocationTargetException e) {
        throw e.getCause();
      } finally {
        cleaning.remove();
      }
    });
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
