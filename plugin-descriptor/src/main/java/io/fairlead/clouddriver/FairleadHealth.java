package io.fairlead.clouddriver;

import com.fasterxml.jackson.databind.JsonNode;
import org.springframework.boot.actuate.health.Health;
import org.springframework.boot.actuate.health.HealthIndicator;

/**
 * Shows the bridge in /health. It is never DOWN: a Clouddriver without its bridge still serves all cached views and all other
 * accounts, and taking it out of service would make things worse. It asks nobody, so that no probe waits for a bridge.
 */
final class FairleadHealth implements HealthIndicator {
  private final Accounts accounts;

  FairleadHealth(Accounts accounts) {
    this.accounts = accounts;
  }

  @Override
  public Health health() {
    String problem = accounts.problem();
    JsonNode status = accounts.status();
    Health.Builder health = problem == null ? Health.up() : Health.unknown();
    health.withDetail("bridge", problem == null ? "connected" : problem).withDetail("accounts", accounts.known().size());
    if (status != null) {
      health.withDetail("version", status.path("version").asText())
          .withDetail("agents", status.path("agents").asInt())
          .withDetail("accountsConnected", status.path("accountsConnected").asInt())
          .withDetail("problems", Bridge.JSON.convertValue(status.path("problems"), Object[].class) == null
              ? new Object[0] : Bridge.JSON.convertValue(status.path("problems"), Object[].class));
    }
    return health.build();
  }
}
