package io.fairlead.clouddriver;

import com.netflix.spinnaker.credentials.Credentials;
import com.netflix.spinnaker.credentials.definition.AbstractCredentialsLoader;
import com.netflix.spinnaker.credentials.definition.CredentialsDefinition;
import com.netflix.spinnaker.credentials.definition.CredentialsDefinitionSource;
import com.netflix.spinnaker.credentials.definition.CredentialsParser;
import com.netflix.spinnaker.kork.plugins.api.spring.PrivilegedSpringPlugin;
import java.util.List;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.core.ResolvableType;

/**
 * Everything of Clouddriver that this plugin touches. Run in 1.38 (clouddriver 5.95.0, Spring Boot 2.7) and 2026.2.3 (Spring Boot
 * 3.5); compiled against clouddriver 5.90.0; read in the sources from 1.28 on, where these are the same.
 *
 * <pre>
 * by type  kork         PrivilegedSpringPlugin, CredentialsDefinitionSource, CredentialsDefinition, CredentialsParser,
 *                       AbstractCredentialsLoader, CredentialsRepository, Credentials
 *          clouddriver  JobExecutor, JobRequest, JobResult, JobExecutionException, ReaderConsumer
 *          cats         Provider, ProviderRegistry, ProviderCache, Agent, CachingAgent, AgentDataType, AgentExecution, CacheResult
 *          Spring       bean factory, BeanPostProcessor, Environment, HealthIndicator (Spring Boot 2 and 3)
 *          others       Jackson's ObjectMapper, slf4j with its MDC
 * by name  clouddriver  KubernetesAccountProperties (getAccounts), its ManagedAccount (made by Jackson),
 *                       KubernetesNamedAccountCredentials, SqlUnknownAgentCleanupAgent (run)
 * </pre>
 */
final class Clouddriver {
  private static final String KUBERNETES = "com.netflix.spinnaker.clouddriver.kubernetes.";
  static final String MANAGED_ACCOUNT = KUBERNETES + "config.KubernetesAccountProperties$ManagedAccount";
  static final String ACCOUNT_CREDENTIALS = KUBERNETES + "security.KubernetesNamedAccountCredentials";
  static final String UNKNOWN_AGENT_CLEANUP = "com.netflix.spinnaker.cats.sql.cache.SqlUnknownAgentCleanupAgent";
  /** Name of the stock Kubernetes provider: its agents' rows are ours. */
  static final String PROVIDER_NAME = "kubernetes";

  private final BeanFactory beans;
  final Class<?> managedAccount;
  private final Class<?> credentials;

  Clouddriver(BeanFactory beans) throws ClassNotFoundException {
    this.beans = beans;
    // A plugin's own class loader sees the application's classes, but only that of an application's class is sure to.
    ClassLoader application = PrivilegedSpringPlugin.class.getClassLoader();
    this.managedAccount = Class.forName(MANAGED_ACCOUNT, false, application);
    this.credentials = Class.forName(ACCOUNT_CREDENTIALS, false, application);
  }

  /** The type by which Clouddriver looks for its source of Kubernetes accounts. */
  ResolvableType accountSourceType() {
    return ResolvableType.forClassWithGenerics(CredentialsDefinitionSource.class, managedAccount);
  }

  /** The accounts of Clouddriver's own configuration, which our source stands in for. */
  List<?> configuredAccounts() {
    try {
      Object properties = beans.getBean(managedAccount.getEnclosingClass());
      List<?> accounts = (List<?>) managedAccount.getEnclosingClass().getMethod("getAccounts").invoke(properties);
      return accounts == null ? List.of() : accounts;
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("Fairlead: this Clouddriver has no " + managedAccount.getEnclosingClass().getName() + ".getAccounts()", e);
    }
  }

  /** Loads accounts from the source into the repository; null when the Kubernetes provider is off. */
  AbstractCredentialsLoader<Credentials> loader() {
    return bean(ResolvableType.forClassWithGenerics(AbstractCredentialsLoader.class, credentials));
  }

  CredentialsParser<CredentialsDefinition, Credentials> parser() {
    return bean(ResolvableType.forClassWithGenerics(CredentialsParser.class, managedAccount, credentials));
  }

  @SuppressWarnings("unchecked")
  private <T> T bean(ResolvableType type) {
    return (T) beans.getBeanProvider(type).getIfAvailable();
  }
}
