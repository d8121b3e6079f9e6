using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Pipeline.Experiments.Baselines;

/// <summary>Both ends of a TCP connection over 127.0.0.1, with or without TLS.</summary>
internal sealed record Loopback(Stream Near, Stream Far) : IAsyncDisposable
{
    public const string HostName = "localhost";

    public static async Task<Loopback> ConnectAsync(CancellationToken cancellationToken)
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        Socket near = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await near.ConnectAsync(listener.LocalEndpoint, cancellationToken);
            Socket far = await listener.AcceptSocketAsync(cancellationToken);
            far.NoDelay = true;
            return new Loopback(new NetworkStream(near, ownsSocket: true), new NetworkStream(far, ownsSocket: true));
        }
        catch
        {
            near.Dispose();
            throw;
        }
    }

    public static async Task<Loopback> ConnectWithTlsAsync(CancellationToken cancellationToken)
    {
        using X509Certificate2 certificate = CreateCertificate();
        string hash = certificate.GetCertHashString();
        Loopback plain = await ConnectAsync(cancellationToken);
        SslStream near = new(plain.Near);
        SslStream far = new(plain.Far);
        try
        {
            await Task.WhenAll(
                far.AuthenticateAsServerAsync(new SslServerAuthenticationOptions { ServerCertificate = certificate }, cancellationToken),
                near.AuthenticateAsClientAsync(
                    new SslClientAuthenticationOptions
                    {
                        TargetHost = HostName,
                        RemoteCertificateValidationCallback = (_, remote, _, _) => remote?.GetCertHashString() == hash,
                    },
                    cancellationToken));
            return new Loopback(near, far);
        }
        catch (AuthenticationException e)
        {
            await plain.DisposeAsync();
            throw new IOException($"There is no TLS between the ends: {e.Message}", e);
        }
        catch
        {
            await plain.DisposeAsync();
            throw;
        }
    }

    /// <summary>A self-signed certificate for <see cref="HostName"/>, which is never written anywhere.</summary>
    public static X509Certificate2 CreateCertificate()
    {
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        CertificateRequest request = new($"CN={HostName}", key, HashAlgorithmName.SHA256);
        SubjectAlternativeNameBuilder names = new();
        names.AddDnsName(HostName);
        request.CertificateExtensions.Add(names.Build());
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
    }

    public async ValueTask DisposeAsync()
    {
        await Near.DisposeAsync();
        await Far.DisposeAsync();
    }
}
