using System.IO.Pipelines;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;

namespace Pipeline.Experiments.Baselines;

/// <summary>Both ends of a TCP connection over 127.0.0.1, with or without TLS.</summary>
internal sealed record Loopback(Stream Near, Stream Far) : IAsyncDisposable
{
    /// <summary>Writes into the near end.</summary>
    public PipeWriter CreateWriter(int bufferSize) => PipeWriter.Create(Near, new StreamPipeWriterOptions(minimumBufferSize: bufferSize, leaveOpen: true));

    /// <summary>Reads from the far end.</summary>
    public PipeReader CreateReader(int bufferSize) => PipeReader.Create(Far, new StreamPipeReaderOptions(bufferSize: bufferSize, leaveOpen: true));

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
        await using TlsIdentity identity = new();
        return await ConnectWithTlsAsync(identity, cancellationToken);
    }

    /// <summary>Connects with an identity that many connections may share.</summary>
    public static async Task<Loopback> ConnectWithTlsAsync(TlsIdentity identity, CancellationToken cancellationToken)
    {
        Loopback plain = await ConnectAsync(cancellationToken);
        SslStream near = new(plain.Near);
        SslStream far = new(plain.Far);
        try
        {
            await Task.WhenAll(
                far.AuthenticateAsServerAsync(identity.Server, cancellationToken),
                near.AuthenticateAsClientAsync(identity.Client, cancellationToken));
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

    public async ValueTask DisposeAsync()
    {
        await Near.DisposeAsync();
        await Far.DisposeAsync();
    }
}
