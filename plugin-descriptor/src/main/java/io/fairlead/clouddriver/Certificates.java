package io.fairlead.clouddriver;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collection;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Makes TLS of PEM files: a client certificate with its key, and the CAs that a bridge's certificate must be of. */
final class Certificates {
  private static final Pattern KEY = Pattern.compile("-----BEGIN ((?:RSA |EC |ENCRYPTED )?PRIVATE KEY)-----([^-]*)-----END \\1-----", Pattern.DOTALL);

  private Certificates() {}

  /** The content of the files, to notice that one has changed. */
  static byte[][] read(Path... files) throws IOException {
    byte[][] contents = new byte[files.length][];
    for (int i = 0; i < files.length; i++) {
      contents[i] = Files.readAllBytes(files[i]);
    }
    return contents;
  }

  /** TLS of a certificate chain, its key and CAs. What is wrong is said without what the files hold. */
  static SSLContext context(byte[] certificate, byte[] key, byte[] cas) throws GeneralSecurityException, IOException {
    Certificate[] chain = certificates("certificateFile", certificate).toArray(new Certificate[0]);
    char[] none = {};
    KeyStore own = KeyStore.getInstance("PKCS12");
    own.load(null, none);
    own.setKeyEntry("plugin", key(key, chain[0].getPublicKey()), none, chain);
    KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    keys.init(own, none);

    KeyStore trusted = KeyStore.getInstance("PKCS12");
    trusted.load(null, none);
    int n = 0;
    for (Certificate ca : certificates("caFile", cas)) {
      trusted.setCertificateEntry("ca" + n++, ca);
    }
    TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(trusted);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
    return context;
  }

  private static Collection<? extends Certificate> certificates(String setting, byte[] pem) throws GeneralSecurityException {
    Collection<? extends Certificate> list;
    try {
      list = CertificateFactory.getInstance("X.509").generateCertificates(new ByteArrayInputStream(pem));
    } catch (CertificateException e) {
      throw new GeneralSecurityException(setting + ": not certificates in PEM", e);
    }
    if (list.isEmpty()) {
      throw new GeneralSecurityException(setting + ": no certificate in PEM (-----BEGIN CERTIFICATE-----) is in it");
    }
    return list;
  }

  private static PrivateKey key(byte[] pem, PublicKey partner) throws GeneralSecurityException {
    Matcher found = KEY.matcher(new String(pem, StandardCharsets.ISO_8859_1));
    if (!found.find()) {
      throw new GeneralSecurityException("keyFile: no private key in PEM (-----BEGIN PRIVATE KEY-----) is in it");
    }
    if (found.group(1).startsWith("ENCRYPTED") || found.group(2).contains("ENCRYPTED")) {
      throw new GeneralSecurityException("keyFile: the key is encrypted; decrypt it with \"openssl pkcs8 -topk8 -nocrypt\"");
    }
    PrivateKey key;
    try {
      byte[] der = Base64.getMimeDecoder().decode(found.group(2));
      String algorithm = partner.getAlgorithm();
      key = KeyFactory.getInstance(algorithm).generatePrivate(new PKCS8EncodedKeySpec(found.group(1).equals("PRIVATE KEY") ? der : pkcs8(der, partner)));
      Signature signature = Signature.getInstance(algorithm.equals("RSA") || algorithm.equals("EC") ? "SHA256with" + (algorithm.equals("EC") ? "ECDSA" : "RSA") : algorithm);
      signature.initSign(key);
      byte[] signed = signature.sign();
      signature.initVerify(partner);
      if (signature.verify(signed)) {
        return key;
      }
    } catch (GeneralSecurityException | IllegalArgumentException e) {
      // Its text may hold a part of the key.
      throw new GeneralSecurityException("keyFile: the private key is damaged, or not that of certificateFile");
    }
    throw new GeneralSecurityException("keyFile: the key is not that of certificateFile");
  }

  /** PKCS #1 and EC keys, cert-manager's default, are PKCS #8 without a header: it holds the algorithm, which the public key names too. */
  private static byte[] pkcs8(byte[] inner, PublicKey partner) {
    ByteBuffer spki = ByteBuffer.wrap(partner.getEncoded());
    length(spki); // the outer sequence
    int from = spki.position();
    int size = length(spki);
    byte[] algorithm = Arrays.copyOfRange(spki.array(), from, spki.position() + size);
    return der(0x30, new byte[] {2, 1, 0}, algorithm, der(0x04, inner));
  }

  /** Reads a tag and its length. */
  private static int length(ByteBuffer in) {
    in.get();
    int first = in.get() & 0xff;
    if (first < 0x80) {
      return first;
    }
    int n = 0;
    for (int i = 0; i < (first & 0x7f); i++) {
      n = n << 8 | in.get() & 0xff;
    }
    return n;
  }

  private static byte[] der(int tag, byte[]... parts) {
    int size = Arrays.stream(parts).mapToInt(p -> p.length).sum();
    ByteBuffer out = ByteBuffer.allocate(size + 4).put((byte) tag);
    if (size > 0xff) {
      out.put((byte) 0x82).put((byte) (size >> 8));
    } else if (size > 0x7f) {
      out.put((byte) 0x81);
    }
    out.put((byte) size);
    Arrays.stream(parts).forEach(out::put);
    return Arrays.copyOf(out.array(), out.position());
  }
}
