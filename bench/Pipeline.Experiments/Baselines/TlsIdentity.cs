using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Pipeline.Experiments.Baselines;

/// <summary>A self-signed certificate, which is never written anywhere, and what its ends of connections share.</summary>
internal sealed class TlsIdentity : IAsyncDisposable
{
    public const string HostName = "localhost";

    private readonly string _hash;

    public TlsIdentity()
    {
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        CertificateRequest request = new($"CN={HostName}", key, HashAlgorithmName.SHA256);
        SubjectAlternativeNameBuilder names = new();
        names.AddDnsName(HostName);
        request.CertificateExtensions.Add(names.Build());
        Certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        _hash = Certificate.GetCertHashString();
        Server = new SslServerAuthenticationOptions
        {
            ServerCertificateContext = SslStreamCertificateContext.Create(Certificate, additionalCertificates: null, offline: true),
        };
        Client = new SslClientAuthenticationOptions
        {
            TargetHost = HostName,
            RemoteCertificateValidationCallback = (_, remote, _, _) => remote?.GetCertHashString() == _hash,
        };
    }

    public X509Certificate2 Certificate { get; }

    public SslServerAuthenticationOptions Server { get; }

    public SslClientAuthenticationOptions Client { get; }

    public ValueTask DisposeAsync()
    {
        Certificate.Dispose();
        return ValueTask.CompletedTask;
    }
}
