using System.Security.Cryptography;
using Pipeline.Cryptography;
using Pipeline.Tests.Support;
using Pipeline.Transport;
using Pipeline.Wire;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Transport;

/// <summary>Connections that were recorded with the reference implementation, replayed against this one.</summary>
[TestFixture("session-1", 197, 0, 2)]
[TestFixture("session-2", 137, 0, 1)]
[TestFixture("session-3", 1275, 1, 21)]
public sealed class RecordingTests(string session, int messages, int pings, int pongs)
{
    private readonly Recording _recording = Recording.Load(session);

    [Test, CancelAfter(30_000)]
    public async Task Our_handshake_is_the_recorded_one_byte_for_byte(CancellationToken cancellationToken)
    {
        using ReplayStream stream = new(_recording.Received);

        await using AuthenticatedConnection connection = await _recording.ReplayAsync(stream, cancellationToken: cancellationToken);

        Assert.That(stream.Written, Is.EqualTo(_recording.Sent[..Recording.HandshakeBytes]));
        using NodeKey key = _recording.CreateNodeKey();
        Assert.That(key.PublicKey.Span.ToArray(), Is.EqualTo(_recording.LocalPublicKey));
        Assert.That(key.Id, Is.EqualTo(_recording.LocalInfo.Id));
    }

    [Test, CancelAfter(30_000)]
    public async Task The_remote_is_authenticated_and_its_NodeInfo_is_the_recorded_one(CancellationToken cancellationToken)
    {
        using ReplayStream stream = new(_recording.Received);

        await using AuthenticatedConnection connection = await _recording.ReplayAsync(stream, cancellationToken: cancellationToken);

        Assert.That(connection.Connection.RemoteId, Is.EqualTo(_recording.RemoteId));
        Assert.That(connection.Connection.RemotePublicKey.Span.ToArray(), Is.EqualTo(_recording.RemotePublicKey));
        Assert.That(connection.RemoteInfo, Is.EqualTo(_recording.RemoteInfo));
        Assert.That(() => connection.EnsureCompatible(_recording.LocalInfo), Throws.Nothing);
    }

    [Test, CancelAfter(30_000)]
    public Task Everything_received_decodes_to_the_recorded_messages(CancellationToken cancellationToken) =>
        ReceivesEverythingAsync(Splits.None, cancellationToken);

    [Test, CancelAfter(30_000)]
    public Task The_same_comes_out_when_the_bytes_arrive_one_at_a_time(CancellationToken cancellationToken) =>
        ReceivesEverythingAsync(Splits.OneByte, cancellationToken);

    [Test, CancelAfter(60_000)]
    public async Task The_same_comes_out_when_the_bytes_arrive_in_random_pieces(CancellationToken cancellationToken)
    {
        for (int seed = 0; seed < 20; seed++)
        {
            await ReceivesEverythingAsync(Splits.Random(seed), cancellationToken);
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task Everything_sent_decodes_too(CancellationToken cancellationToken)
    {
        SessionSecrets secrets = _recording.Secrets();
        using MemoryStream stream = new(_recording.Sent, Recording.EphemeralKeyBytes, _recording.Sent.Length - Recording.EphemeralKeyBytes);
        using FrameReader reader = new(stream, new FrameCipher(secrets.SendKey));

        AuthSigMessage proof = await DelimitedMessage.ReadAsync(reader.AsStream(leaveOpen: true), AuthSigMessage.Parser, 1024, "a proof", cancellationToken);
        DefaultNodeInfo info = await DelimitedMessage.ReadAsync(reader.AsStream(leaveOpen: true), DefaultNodeInfo.Parser, 10_240, "a NodeInfo", cancellationToken);
        PacketLog log = await PacketLog.ReadAllAsync(reader, cancellationToken);

        Assert.That(new PublicKey(proof.PubKey.Ed25519.Span).Verify(secrets.Challenge, proof.Sig.Span), Is.True);
        Assert.That(NodeInfo.FromProto(info), Is.EqualTo(_recording.LocalInfo));
        Assert.That(log.Packets, Is.GreaterThan(pongs), "each pong answers a ping of ours");
        Assert.That(log.Pings, Is.GreaterThanOrEqualTo(pongs));
        Assert.That(log.Pongs, Is.EqualTo(pings));
        Assert.That(log.Leftover, Is.Zero);
    }

    private async Task ReceivesEverythingAsync(Func<int> splits, CancellationToken cancellationToken)
    {
        using ReplayStream stream = new(_recording.Received, splits);
        await using AuthenticatedConnection connection = await _recording.ReplayAsync(stream, cancellationToken: cancellationToken);

        PacketLog log = await PacketLog.ReadAllAsync(connection.Connection.Input, cancellationToken);

        Assert.That(_recording.Messages, Has.Length.EqualTo(messages));
        Assert.That(
            log.Messages.Select(message => (message.Channel, message.Bytes.Length, Convert.ToHexStringLower(SHA256.HashData(message.Bytes)))),
            Is.EqualTo(_recording.Messages.Select(message => (message.Channel, message.Length, message.Sha256))));
        Assert.That(log.Messages.Select(message => message.Bytes), Is.EqualTo(_recording.Messages.Select(message => message.Bytes)));
        Assert.That((log.Pings, log.Pongs, log.Leftover), Is.EqualTo((pings, pongs, 0L)));
    }
}
