package io.fairlead.clouddriver;

import java.util.List;
import org.springframework.boot.actuate.health.Health;
import org.springframework.boot.actuate.health.HealthIndicator;

/** Says in Clouddriver's health why the plugin does nothing. Clouddriver itself is well. */
final class Refused implements HealthIndicator {
  private final List<String> obstacles;

  Refused(List<String> obstacles) {
    this.obstacles = obstacles;
  }

  @Override
  public Health health() {
    return Health.unknown().withDetail("refused", obstacles).build();
  }
}
