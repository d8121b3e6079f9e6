using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using Pipeline.Cryptography;
using Pipeline.Switching;
using Pipeline.Transport;
using Pipeline.Wire;

namespace Pipeline.Tests.Support;

/// <summary>A remote that shakes hands as it should, and then sends whatever a test wants it to.</summary>
internal sealed class RawRemote : IAsyncDisposable
{
    private readonly TcpClient _client;

    private RawRemote(TcpClient client, AuthenticatedConnection connection)
    {
        _client = client;
        Connection = connection;
    }

    public AuthenticatedConnection Connection { get; }

    public SecretConnection Stream => Connection.Connection;

    public static NodeInfo Describe(NodeKey key, NodeInfo like) => like with { Id = key.Id, Moniker = "raw", ListenAddress = "tcp://127.0.0.1:1" };

    /// <summary>Dials a switch and shakes hands, as a node that is its like in all but the key and what a test changes.</summary>
    public static async Task<RawRemote> ConnectAsync(Switch target, NodeKey key, Func<NodeInfo, NodeInfo>? change, CancellationToken cancellationToken)
    {
        NodeInfo info = Describe(key, target.NodeInfo);
        TcpClient client = new() { NoDelay = true };
        await client.ConnectAsync(IPAddress.Loopback, target.ListenAddress.Port, cancellationToken);
        return await ShakeHandsAsync(client, key, change?.Invoke(info) ?? info, cancellationToken);
    }

    /// <summary>Shakes hands over a connection that is there.</summary>
    public static async Task<RawRemote> ShakeHandsAsync(TcpClient client, NodeKey key, NodeInfo info, CancellationToken cancellationToken) =>
        new(client, await Handshake.PerformAsync(client.GetStream(), key, info, cancellationToken: cancellationToken));

    public ValueTask SendAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) => Stream.WriteAsync(bytes, cancellationToken);

    public async Task SendMessageAsync(byte channel, byte[] message, CancellationToken cancellationToken)
    {
        int at = 0;
        do
        {
            int count = Math.Min(PacketCodec.DefaultMaxDataSize, message.Length - at);
            await SendAsync(PacketBytes(channel, at + count == message.Length, message.AsSpan(at, count)), cancellationToken);
            at += count;
        }
        while (at < message.Length);
    }

    public static byte[] PacketBytes(byte channel, bool endOfMessage, ReadOnlySpan<byte> data)
    {
        Packet packet = Packet.Message(channel, endOfMessage, data);
        byte[] bytes = new byte[PacketCodec.Size(packet)];
        PacketCodec.Write(bytes, packet);
        return bytes;
    }

    /// <summary>Reads until the switch closes the connection, and says what came.</summary>
    public async Task<IReadOnlyList<PacketKind>> ReadToEndAsync(CancellationToken cancellationToken)
    {
        List<PacketKind> kinds = [];
        try
        {
            while (await ReadAsync(kinds, cancellationToken))
            {
            }
        }
        catch (IOException)
        {
            // Closed with unread data, which resets the connection.
        }

        return kinds;
    }

    /// <summary>Reads what there is and adds the packets to <paramref name="kinds"/>. False at the end.</summary>
    public async Task<bool> ReadAsync(List<PacketKind> kinds, CancellationToken cancellationToken)
    {
        ReadResult result = await Stream.Input.ReadAsync(cancellationToken);
        int at = 0;
        ReadOnlySpan<byte> bytes = result.Buffer.ToArray();
        while (PacketCodec.TryRead(bytes[at..], PacketCodec.MaxPacketSize(PacketCodec.DefaultMaxDataSize), out Packet packet, out int consumed))
        {
            kinds.Add(packet.Kind);
            at += consumed;
        }

        Stream.Input.AdvanceTo(result.Buffer.GetPosition(at), result.Buffer.End);
        return !result.IsCompleted;
    }

    public async ValueTask DisposeAsync()
    {
        await Connection.DisposeAsync();
        _client.Dispose();
    }
}
