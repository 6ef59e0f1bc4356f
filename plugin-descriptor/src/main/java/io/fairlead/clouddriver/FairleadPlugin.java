package io.fairlead.clouddriver;

import com.netflix.spinnaker.clouddriver.jobs.JobExecutor;
import com.netflix.spinnaker.kork.plugins.api.spring.PrivilegedSpringPlugin;
import java.util.List;
import java.util.function.Supplier;
import org.pf4j.PluginWrapper;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.beans.factory.config.BeanPostProcessor;
import org.springframework.beans.factory.support.BeanDefinitionRegistry;
import org.springframework.beans.factory.support.DefaultListableBeanFactory;
import org.springframework.beans.factory.support.RootBeanDefinition;
import org.springframework.core.ResolvableType;
import org.springframework.core.env.Environment;

/** Puts the seams into Clouddriver. It runs before any of Clouddriver's beans exists. */
public class FairleadPlugin extends PrivilegedSpringPlugin {
  private static final Logger log = LoggerFactory.getLogger(FairleadPlugin.class);

  public FairleadPlugin(PluginWrapper wrapper) {
    super(wrapper);
  }

  @Override
  public void registerBeanDefinitions(BeanDefinitionRegistry registry) {
    DefaultListableBeanFactory beans = (DefaultListableBeanFactory) registry;
    Clouddriver clouddriver;
    try {
      clouddriver = new Clouddriver(beans);
    } catch (ClassNotFoundException e) {
      log.error("Fairlead: this Clouddriver has no Kubernetes provider ({}), the plugin does nothing", e.getMessage());
      return;
    }
    Environment environment = beans.getBean(Environment.class);
    List<String> obstacles = Preconditions.obstacles(environment);
    if (!obstacles.isEmpty()) {
      // Clouddriver goes on without agents: what it served before, it serves.
      obstacles.forEach(obstacle -> log.error("Fairlead does nothing: {}", obstacle));
      add(beans, "fairleadHealthIndicator", Refused.class, () -> new Refused(obstacles));
      return;
    }
    Settings settings = Settings.read(environment);
    Bridge bridge = new Bridge(settings);
    log.info("Fairlead {}: bridge {}, known by {}, state {}", getWrapper().getDescriptor().getVersion(), settings.bridge,
        settings.certificateFile == null ? settings.secretFile : settings.certificateFile, settings.stateDir);

    add(beans, "fairleadAccounts", Accounts.class, () -> new Accounts(bridge, settings));
    add(beans, "fairleadAccountSource", clouddriver.accountSourceType(),
        () -> new AccountSource(beans.getBean(Accounts.class), clouddriver.managedAccount, clouddriver::configuredAccounts));
    add(beans, "fairleadReloader", Reloader.class,
        () -> new Reloader(beans.getBean(Accounts.class), (AccountSource) beans.getBean("fairleadAccountSource"), clouddriver::loader, clouddriver::parser));
    add(beans, "fairleadAnchors", Anchors.class, () -> new Anchors(bridge));
    add(beans, "fairleadHealthIndicator", FairleadHealth.class, () -> new FairleadHealth(beans.getBean(Accounts.class)));

    // At once, so that it sees every bean.
    beans.addBeanPostProcessor(new BeanPostProcessor() {
      @Override
      public Object postProcessAfterInitialization(Object bean, String name) {
        if (bean instanceof JobExecutor) {
          log.info("Fairlead: commands of agents' accounts are taken from {} ({})", name, bean.getClass().getSimpleName());
          return new AgentJobExecutor((JobExecutor) bean, bridge, settings.commandTimeout);
        }
        if (bean.getClass().getName().equals(Clouddriver.UNKNOWN_AGENT_CLEANUP)) {
          return beans.getBean(Anchors.class).guard(bean);
        }
        return bean;
      }
    });
  }

  private static <T> void add(DefaultListableBeanFactory beans, String name, Class<T> type, Supplier<T> maker) {
    add(beans, name, ResolvableType.forClass(type), maker);
  }

  private static void add(DefaultListableBeanFactory beans, String name, ResolvableType type, Supplier<?> maker) {
    RootBeanDefinition definition = new RootBeanDefinition();
    definition.setTargetType(type);
    definition.setInstanceSupplier(maker);
    beans.registerBeanDefinition(name, definition);
  }
}
