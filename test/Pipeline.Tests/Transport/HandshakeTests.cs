using Google.Protobuf;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;
using Pipeline.Wire;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Transport;

/// <summary>What a remote can do wrong before it is a peer, and what each gets.</summary>
[CancelAfter(60_000)]
public sealed class HandshakeTests
{
    // Every u-coordinate of a point whose order divides the cofactor, as far as 255 bits tell them apart, and all of them again with
    // the highest bit set, which X25519 ignores: 0, 1, two of order 8, p - 1, p and p + 1.
    private static readonly string[] LowOrderPoints =
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];

    private static readonly TestCaseData[] BadProofs =
    [
        Proof("nothing", _ => new AuthSigMessage(), "holds no public key"),
        Proof("no key", good => new AuthSigMessage { Sig = good.Sig }, "holds no public key"),
        Proof("an empty key", good => new AuthSigMessage { PubKey = new(), Sig = good.Sig }, "holds no public key"),
        Proof("a secp256k1 key", good => new AuthSigMessage { PubKey = new() { Secp256K1 = Bytes(33) }, Sig = good.Sig }, "secp256k1 key; only Ed25519 keys are accepted"),
        Proof("a key of 0 bytes", good => new AuthSigMessage { PubKey = new() { Ed25519 = Bytes(0) }, Sig = good.Sig }, "key has 0 bytes, not 32"),
        Proof("a key of 31 bytes", good => new AuthSigMessage { PubKey = new() { Ed25519 = Bytes(31) }, Sig = good.Sig }, "key has 31 bytes, not 32"),
        Proof("a key of 33 bytes", good => new AuthSigMessage { PubKey = new() { Ed25519 = Bytes(33) }, Sig = good.Sig }, "key has 33 bytes, not 32"),
        Proof("no signature", good => new AuthSigMessage { PubKey = good.PubKey }, "signature has 0 bytes, not 64"),
        Proof("a signature of 63 bytes", good => new AuthSigMessage { PubKey = good.PubKey, Sig = Bytes(63) }, "signature has 63 bytes, not 64"),
        Proof("a signature of 65 bytes", good => new AuthSigMessage { PubKey = good.PubKey, Sig = Bytes(65) }, "signature has 65 bytes, not 64"),
        Proof("a proof of 1 kB", good => new AuthSigMessage { PubKey = good.PubKey, Sig = Bytes(1025) }, "announced for a proof of identity; the most is 1024"),
    ];

    private readonly NodeKey _key = NodeKey.Create();

    private NodeInfo Info => InfoOf(_key);

    [OneTimeTearDown]
    public void DisposeKey() => _key.Dispose();

    [Test]
    public async Task Two_nodes_learn_who_and_what_the_other_is(CancellationToken cancellationToken)
    {
        using NodeKey otherKey = NodeKey.Create();
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair();

        Task<AuthenticatedConnection> dialling = Handshake.PerformAsync(ConnectionPair.Split(a, seed: 1), _key, Info, otherKey.Id, cancellationToken: cancellationToken);
        await using AuthenticatedConnection accepted = await Handshake.PerformAsync(ConnectionPair.Split(b, seed: 2), otherKey, InfoOf(otherKey), cancellationToken: cancellationToken);
        await using AuthenticatedConnection dialled = await dialling;

        Assert.That(dialled.RemoteInfo, Is.EqualTo(InfoOf(otherKey)));
        Assert.That(accepted.RemoteInfo, Is.EqualTo(Info));
        Assert.That(dialled.Connection.RemotePublicKey, Is.EqualTo(otherKey.PublicKey));
        Assert.That(() => dialled.EnsureCompatible(Info), Throws.Nothing);
        HandshakeException? e = Assert.Throws<HandshakeException>(() => dialled.EnsureCompatible(Info with { Network = "other" }));
        Assert.That((e!.Failure, e.RemoteId, e.RemoteInfo), Is.EqualTo((HandshakeFailure.DifferentNetwork, otherKey.Id, dialled.RemoteInfo)));
        Assert.That(e.Message, Is.EqualTo($"Node {otherKey.Id} cannot be a peer: it is on network 'net', this node on 'other'."));
    }

    [TestCase("00", "holds no ephemeral key", Description = "an empty message")]
    [TestCase("020a00", "holds no ephemeral key", Description = "an empty key")]
    [TestCase("021005", "holds no ephemeral key", Description = "another field")]
    [TestCase("030a0101", "has 1 bytes, not 32")]
    [TestCase("210a1f{31}", "has 31 bytes, not 32")]
    [TestCase("230a21{33}", "A length of 35 bytes was announced for an ephemeral key; the most is 34.")]
    [TestCase("ffff3f", "A length of 1048575 bytes was announced", Description = "just below 1 MiB")]
    [TestCase("808040", "A length of 1048576 bytes was announced", Description = "1 MiB")]
    [TestCase("818040", "A length of 1048577 bytes was announced", Description = "just over 1 MiB")]
    [TestCase("ffffffff07", "A length of 2147483647 bytes was announced")]
    [TestCase("ffffffffffffffffff01", "A length of 18446744073709551615 bytes was announced")]
    [TestCase("80808080808080808080", "The length of an ephemeral key is not a varint", Description = "never ends")]
    [TestCase("ffffffffffffffffff02", "The length of an ephemeral key is not a varint")]
    [TestCase("030a2001", "cannot be read as an ephemeral key", Description = "cut off inside the message")]
    [TestCase("474554202f20485454502f312e310d0a", "did not send an ephemeral key first", Description = "HTTP")]
    public async Task A_first_message_without_a_key_of_32_bytes_is_refused(string hex, string reason, CancellationToken cancellationToken)
    {
        string bytes = hex.Replace("{31}", new string('5', 62), StringComparison.Ordinal).Replace("{33}", new string('5', 66), StringComparison.Ordinal);

        // It says nothing more, so that the reason must be found without waiting.
        await using ReplayStream stream = new(Convert.FromHexString(bytes)) { StaysSilent = true };

        await RefusesAsync(stream, HandshakeFailure.InvalidEphemeralKey, reason, cancellationToken);
    }

    [Test]
    public async Task Every_ephemeral_key_of_low_order_is_refused([ValueSource(nameof(LowOrderPoints))] string hex, [Values] bool highestBit, CancellationToken cancellationToken)
    {
        (MemoryDuplex local, MemoryDuplex remote) = MemoryDuplex.CreatePair();
        using Impostor impostor = new(remote);
        byte[] point = Convert.FromHexString(hex);
        point[31] |= (byte)(highestBit ? 0x80 : 0);
        await impostor.SendEphemeralKeyAsync(point);

        await RefusesAsync(local, HandshakeFailure.UnsafeEphemeralKey, "is a point of low order", cancellationToken);
    }

    [Test]
    public async Task Our_own_ephemeral_key_sent_back_is_refused(CancellationToken cancellationToken)
    {
        (MemoryDuplex local, MemoryDuplex remote) = MemoryDuplex.CreatePair();
        using Impostor impostor = new(remote);
        Task refused = RefusesAsync(local, HandshakeFailure.UnsafeEphemeralKey, "sent our own ephemeral key back", cancellationToken);

        await impostor.SendEphemeralKeyAsync(await impostor.ReadEphemeralKeyAsync(cancellationToken));

        await refused;
    }

    [TestCaseSource(nameof(BadProofs))]
    public Task A_proof_without_an_Ed25519_key_and_a_signature_is_refused(
        Func<AuthSigMessage, AuthSigMessage> change,
        string reason,
        CancellationToken cancellationToken) =>
        RefusesAsync(
            async impostor =>
            {
                await impostor.AgreeOnKeysAsync(cancellationToken);
                await impostor.SendMessageAsync(change(impostor.Proof()));
            },
            HandshakeFailure.InvalidAuthentication,
            reason,
            cancellationToken);

    [Test]
    public Task A_proof_that_is_no_protobuf_is_refused(CancellationToken cancellationToken) => RefusesAsync(
        async impostor =>
        {
            await impostor.AgreeOnKeysAsync(cancellationToken);
            await impostor.SendFrameAsync([2, 0x0a, 0x60]);
        },
        HandshakeFailure.InvalidAuthentication,
        "did not prove its identity. 2 bytes cannot be read as a proof of identity",
        cancellationToken);

    [Test]
    public async Task A_signature_with_a_flipped_bit_is_refused([Range(0, 511, 73)] int bit, CancellationToken cancellationToken) => await RefusesAsync(
        async impostor =>
        {
            await impostor.AgreeOnKeysAsync(cancellationToken);
            AuthSigMessage proof = impostor.Proof();
            byte[] signature = proof.Sig.ToByteArray();
            signature[bit / 8] ^= (byte)(1 << (bit % 8));
            proof.Sig = ByteString.CopyFrom(signature);
            await impostor.SendMessageAsync(proof);
        },
        HandshakeFailure.BadSignature,
        "signature is not one of its key over this connection's challenge",
        cancellationToken);

    [Test]
    public async Task A_signature_of_another_key_is_refused(CancellationToken cancellationToken)
    {
        using NodeKey another = NodeKey.Create();
        await RefusesAsync(
            async impostor =>
            {
                await impostor.AgreeOnKeysAsync(cancellationToken);
                AuthSigMessage proof = impostor.Proof();
                proof.Sig = impostor.Proof(another).Sig;
                await impostor.SendMessageAsync(proof);
            },
            HandshakeFailure.BadSignature,
            "signature is not one of its key",
            cancellationToken);
    }

    [Test]
    public async Task A_signature_over_another_challenge_is_refused(CancellationToken cancellationToken) => await RefusesAsync(
        async impostor =>
        {
            AuthSigMessage proof = impostor.Proof();
            await impostor.AgreeOnKeysAsync(cancellationToken);
            await impostor.SendMessageAsync(proof);
        },
        HandshakeFailure.BadSignature,
        "signature is not one of its key",
        cancellationToken);

    // The signature is a good one, because both sides sign the same challenge.
    [Test]
    public async Task Our_own_proof_sent_back_is_refused(CancellationToken cancellationToken)
    {
        HandshakeException e = await RefusesAsync(
            async impostor =>
            {
                await impostor.AgreeOnKeysAsync(cancellationToken);
                await impostor.SendFrameAsync(await impostor.ReadFrameAsync(cancellationToken));
            },
            HandshakeFailure.Self,
            "it is this node itself, or reflects what we sent",
            cancellationToken);
        Assert.That(e.RemoteId, Is.EqualTo(_key.Id));
    }

    [Test]
    public async Task A_node_that_reaches_itself_notices(CancellationToken cancellationToken)
    {
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair();

        Task one = RefusesAsync(a, HandshakeFailure.Self, "this node's own key", cancellationToken);
        await RefusesAsync(b, HandshakeFailure.Self, "this node's own key", cancellationToken);
        await one;
    }

    [Test]
    public async Task Another_node_than_the_one_dialled_is_refused(CancellationToken cancellationToken)
    {
        NodeId dialled = NodeId.Parse(new string('7', 40));
        NodeId answered = default;
        HandshakeException e = await RefusesAsync(
            impostor =>
            {
                answered = impostor.Key.Id;
                return impostor.AuthenticateAsync(cancellationToken);
            },
            HandshakeFailure.WrongNode,
            $"Node {dialled} was dialled, but node ",
            cancellationToken,
            dialled);
        Assert.That(e.RemoteId, Is.EqualTo(answered));
        Assert.That(e.Message, Does.Contain($"but node {answered} answered"));
    }

    [TestCase(0)]
    [TestCase(3)]
    [TestCase(FrameCipher.SealedSize - 1)]
    public async Task A_changed_frame_is_refused(int at, CancellationToken cancellationToken) => await RefusesAsync(
        async impostor =>
        {
            await impostor.AgreeOnKeysAsync(cancellationToken);
            byte[] frame = impostor.Frame(DelimitedMessage.Encode(impostor.Proof()));
            frame[at] ^= 1;
            await impostor.SendAsync(frame);
        },
        HandshakeFailure.FrameNotAuthentic,
        "not sealed by the remote",
        cancellationToken);

    [TestCase(1025u)]
    [TestCase(uint.MaxValue)]
    public async Task A_frame_with_an_illegal_length_is_refused(uint length, CancellationToken cancellationToken) => await RefusesAsync(
        async impostor =>
        {
            await impostor.AuthenticateAsync(cancellationToken);
            await impostor.SendFrameAsync([1], length);
        },
        HandshakeFailure.InvalidFrameLength,
        $"says that it holds {length} bytes; the most is 1024",
        cancellationToken);

    [Test]
    public async Task Empty_frames_and_frames_of_one_byte_are_legal(CancellationToken cancellationToken)
    {
        (MemoryDuplex local, MemoryDuplex remote) = MemoryDuplex.CreatePair();
        using Impostor impostor = new(remote);
        NodeInfo info = InfoOf(impostor.Key);
        Task<AuthenticatedConnection> handshake = Handshake.PerformAsync(local, _key, Info, cancellationToken: cancellationToken);

        await impostor.AgreeOnKeysAsync(cancellationToken);
        foreach (byte b in DelimitedMessage.Encode(impostor.Proof()).Concat(DelimitedMessage.Encode(info.ToProto())))
        {
            await impostor.SendFrameAsync([]);
            await impostor.SendFrameAsync([b]);
        }

        await using AuthenticatedConnection connection = await handshake;
        Assert.That(connection.RemoteInfo, Is.EqualTo(info));
    }

    [TestCaseSource(typeof(NodeInfoTests), nameof(NodeInfoTests.Faults))]
    public async Task A_NodeInfo_that_breaks_a_rule_is_refused(NodeInfo info, string fault, CancellationToken cancellationToken)
    {
        NodeId remoteId = default;
        HandshakeException e = await RefusesAsync(
            async impostor =>
            {
                remoteId = impostor.Key.Id;
                await impostor.AuthenticateAsync(cancellationToken);
                await impostor.SendMessageAsync((info.Id.IsEmpty ? info : info with { Id = remoteId }).ToProto());
            },
            HandshakeFailure.InvalidNodeInfo,
            fault,
            cancellationToken);
        Assert.That(e.Message, Does.StartWith($"The NodeInfo of node {remoteId} breaks a rule: "));
        Assert.That((e.RemoteId, e.RemoteInfo?.Network), Is.EqualTo((remoteId, info.Network)));
    }

    [TestCase("032201ff", "3 bytes cannot be read as a NodeInfo: String is invalid UTF-8", Description = "not UTF-8")]
    [TestCase("023a05", "2 bytes cannot be read as a NodeInfo", Description = "cut off")]
    public async Task A_NodeInfo_that_is_no_protobuf_is_refused(string hex, string reason, CancellationToken cancellationToken) => await RefusesAsync(
        async impostor =>
        {
            await impostor.AuthenticateAsync(cancellationToken);
            await impostor.SendFrameAsync(Convert.FromHexString(hex));
        },
        HandshakeFailure.InvalidNodeInfo,
        reason,
        cancellationToken);

    [Test]
    public async Task A_NodeInfo_with_another_id_than_the_authenticated_one_is_refused(CancellationToken cancellationToken)
    {
        HandshakeException e = await RefusesAsync(
            async impostor =>
            {
                await impostor.AuthenticateAsync(cancellationToken);
                await impostor.SendMessageAsync(InfoOf(_key).ToProto());
            },
            HandshakeFailure.NodeInfoIdMismatch,
            $"says in its NodeInfo that it is {_key.Id}",
            cancellationToken);
        Assert.That(e.RemoteInfo, Is.EqualTo(Info));
    }

    [Test]
    public async Task A_NodeInfo_may_have_10240_bytes(CancellationToken cancellationToken)
    {
        (MemoryDuplex local, MemoryDuplex remote) = MemoryDuplex.CreatePair();
        using Impostor impostor = new(remote);
        NodeInfo info = Sized(InfoOf(impostor.Key), NodeInfo.MaxSize);
        Task<AuthenticatedConnection> handshake = Handshake.PerformAsync(local, _key, Info, cancellationToken: cancellationToken);

        await impostor.AuthenticateAsync(cancellationToken);
        await impostor.SendMessageAsync(info.ToProto());

        await using AuthenticatedConnection connection = await handshake;
        Assert.That(connection.RemoteInfo, Is.EqualTo(info));
    }

    [Test]
    public Task A_NodeInfo_of_10241_bytes_is_refused(CancellationToken cancellationToken) => RefusesAsync(
        async impostor =>
        {
            await impostor.AuthenticateAsync(cancellationToken);
            await impostor.SendMessageAsync(Sized(InfoOf(impostor.Key), NodeInfo.MaxSize + 1).ToProto());
        },
        HandshakeFailure.InvalidNodeInfo,
        "A length of 10241 bytes was announced for a NodeInfo; the most is 10240.",
        cancellationToken);

    [Test]
    public async Task A_remote_may_say_what_it_is_and_hang_up(CancellationToken cancellationToken)
    {
        (MemoryDuplex local, MemoryDuplex remote) = MemoryDuplex.CreatePair();
        using Impostor impostor = new(remote);
        Task<AuthenticatedConnection> handshake = Handshake.PerformAsync(local, _key, Info, cancellationToken: cancellationToken);

        await impostor.AuthenticateAsync(cancellationToken);
        await impostor.SendMessageAsync(InfoOf(impostor.Key).ToProto());
        await remote.DisposeAsync();

        await using AuthenticatedConnection connection = await handshake;
        Assert.That(connection.RemoteInfo, Is.EqualTo(InfoOf(impostor.Key)));
    }

    [Test]
    public async Task A_remote_that_closes_at_any_byte_of_the_handshake_is_refused(CancellationToken cancellationToken)
    {
        Recording recording = Recording.Load("session-1");
        for (int length = 0; length < Recording.HandshakeBytes; length++)
        {
            await using ReplayStream stream = new(recording.Received.AsMemory(0, length));
            HandshakeException? e = await Assert.ThrowsAsync<HandshakeException>(() => recording.ReplayAsync(stream, cancellationToken: cancellationToken));
            Assert.That(e!.Failure, Is.EqualTo(HandshakeFailure.ConnectionClosed), $"after {length} bytes");
            Assert.That(e.Message, Does.Contain("The stream ended "));
            Assert.That(stream.IsDisposed, Is.True);
        }

        await using ReplayStream whole = new(recording.Received.AsMemory(0, Recording.HandshakeBytes));
        await using AuthenticatedConnection connection = await recording.ReplayAsync(whole, cancellationToken: cancellationToken);
        Assert.That(connection.RemoteInfo, Is.EqualTo(recording.RemoteInfo));
    }

    [TestCase(0)]
    [TestCase(1)]
    [TestCase(Recording.EphemeralKeyBytes)]
    [TestCase(Recording.EphemeralKeyBytes + 500)]
    [TestCase(Recording.EphemeralKeyBytes + FrameCipher.SealedSize)]
    [TestCase(Recording.HandshakeBytes - 1)]
    public async Task A_remote_that_falls_silent_runs_out_of_time(int after, CancellationToken cancellationToken)
    {
        Recording recording = Recording.Load("session-1");
        FakeTimeProvider time = new();
        await using ReplayStream stream = new(recording.Received.AsMemory(0, after)) { StaysSilent = true };

        Task<AuthenticatedConnection> handshake = recording.ReplayAsync(stream, new HandshakeOptions { TimeProvider = time }, cancellationToken);
        time.Advance(TimeSpan.FromSeconds(19.999));
        Assert.That(handshake.IsCompleted, Is.False);
        time.Advance(TimeSpan.FromSeconds(0.001));

        HandshakeException? e = await Assert.ThrowsAsync<HandshakeException>(() => handshake);
        Assert.That(e!.Failure, Is.EqualTo(HandshakeFailure.Timeout));
        Assert.That(e.Message, Is.EqualTo("The remote did not finish the handshake within 20 s."));
        Assert.That(stream.IsDisposed, Is.True);
    }

    [Test]
    public async Task A_stream_that_heeds_no_token_does_not_keep_a_handshake_from_ending([Values] bool cancelled, CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await using ReplayStream stream = new(Array.Empty<byte>()) { StaysSilent = true, HeedsTokens = false };
        Task<AuthenticatedConnection> handshake = Handshake.PerformAsync(
            stream, _key, Info, options: new HandshakeOptions { TimeProvider = time }, cancellationToken: cancel.Token);

        if (cancelled)
        {
            await cancel.CancelAsync();
            await Assert.CatchAsync<OperationCanceledException>(() => handshake);
        }
        else
        {
            time.Advance(TimeSpan.FromSeconds(20));
            HandshakeException? e = await Assert.ThrowsAsync<HandshakeException>(() => handshake);
            Assert.That(e!.Failure, Is.EqualTo(HandshakeFailure.Timeout));
        }
    }

    [TestCase(0)]
    [TestCase(Recording.EphemeralKeyBytes)]
    [TestCase(Recording.HandshakeBytes - 1)]
    public async Task A_handshake_can_be_cancelled(int after, CancellationToken cancellationToken)
    {
        Recording recording = Recording.Load("session-1");
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await using ReplayStream stream = new(recording.Received.AsMemory(0, after)) { StaysSilent = true };

        Task<AuthenticatedConnection> handshake = recording.ReplayAsync(stream, cancellationToken: cancel.Token);
        Assert.That(handshake.IsCompleted, Is.False);
        await cancel.CancelAsync();

        OperationCanceledException? e = await Assert.CatchAsync<OperationCanceledException>(() => handshake);
        Assert.That(e!.CancellationToken, Is.EqualTo(cancel.Token));
        Assert.That(stream.IsDisposed, Is.True);
    }

    // What we say first, second and third no longer fits into what lies between both.
    [TestCase(Recording.EphemeralKeyBytes - 1)]
    [TestCase(FrameCipher.SealedSize - 1)]
    [TestCase((2 * FrameCipher.SealedSize) - 1)]
    public async Task A_remote_that_never_reads_runs_out_of_time(int capacity, CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        (MemoryDuplex local, MemoryDuplex remote) = MemoryDuplex.CreatePair(capacity);
        using Impostor impostor = new(remote);
        HandshakeOptions options = new() { Timeout = TimeSpan.FromSeconds(5), TimeProvider = time };
        Task<AuthenticatedConnection> handshake = Handshake.PerformAsync(local, _key, Info, options: options, cancellationToken: cancellationToken);

        if (capacity > Recording.EphemeralKeyBytes)
        {
            await impostor.AuthenticateAsync(cancellationToken);
        }

        if (capacity > FrameCipher.SealedSize)
        {
            await impostor.SendMessageAsync(InfoOf(impostor.Key).ToProto());
        }

        await remote.DrainAsync(cancellationToken);
        Assert.That(handshake.IsCompleted, Is.False);
        time.Advance(options.Timeout);

        HandshakeException? e = await Assert.ThrowsAsync<HandshakeException>(() => handshake);
        Assert.That(e!.Failure, Is.EqualTo(HandshakeFailure.Timeout));
        Assert.That(local.IsDisposed, Is.True);
    }

    [Test]
    public async Task The_handshake_time_is_measured_by_the_given_clock(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        (MemoryDuplex local, MemoryDuplex remote) = MemoryDuplex.CreatePair();
        using Impostor impostor = new(remote);
        Task<AuthenticatedConnection> handshake = Handshake.PerformAsync(
            local, _key, Info, options: new HandshakeOptions { TimeProvider = time }, cancellationToken: cancellationToken);
        time.Advance(TimeSpan.FromSeconds(3));
        await impostor.AuthenticateAsync(cancellationToken);
        await impostor.SendMessageAsync(InfoOf(impostor.Key).ToProto());

        await using AuthenticatedConnection connection = await handshake;

        Assert.That(connection.HandshakeTime, Is.EqualTo(TimeSpan.FromSeconds(3)));
    }

    [Test]
    public void Our_own_mistakes_are_said_before_anything_is_sent()
    {
        using ReplayStream stream = new(Array.Empty<byte>());
        using NodeKey another = NodeKey.Create();

        Assert.That(() => Handshake.PerformAsync(stream, another, Info), Throws.ArgumentException.With.Message.Contains($"its id is {_key.Id}, not the key's {another.Id}"));
        Assert.That(() => Handshake.PerformAsync(stream, _key, Info with { Moniker = "" }), Throws.ArgumentException.With.Message.Contains("its moniker '' is empty"));
        Assert.That(() => Handshake.PerformAsync(stream, _key, Sized(Info, 10_241)), Throws.ArgumentException.With.Message.Contains("it takes 10241 bytes; the most is 10240"));
        Assert.That(stream.Written, Is.Empty);
    }

    private static NodeInfo InfoOf(NodeKey key) => new()
    {
        Id = key.Id,
        Network = "net",
        Version = "0.1.0",
        Channels = [0x20, 0x30],
        Moniker = "a node",
    };

    private static NodeInfo Sized(NodeInfo info, int size)
    {
        NodeInfo sized = info with { Moniker = new string('x', size - (info.ToProto().CalculateSize() - info.Moniker.Length) - 1) };
        Assert.That(sized.ToProto().CalculateSize(), Is.EqualTo(size));
        return sized;
    }

    private static ByteString Bytes(int count) => ByteString.CopyFrom(Enumerable.Repeat((byte)9, count).ToArray());

    private static TestCaseData Proof(string name, Func<AuthSigMessage, AuthSigMessage> change, string reason) =>
        new TestCaseData(change, reason).SetArgDisplayNames(name);

    private async Task<HandshakeException> RefusesAsync(
        Func<Impostor, Task> remote,
        HandshakeFailure failure,
        string reason,
        CancellationToken cancellationToken,
        NodeId? dialled = null)
    {
        (MemoryDuplex local, MemoryDuplex other) = MemoryDuplex.CreatePair();
        using Impostor impostor = new(other);
        Task<HandshakeException> refused = RefusesAsync(local, failure, reason, cancellationToken, dialled);
        await remote(impostor);
        return await refused;
    }

    private async Task<HandshakeException> RefusesAsync(
        DuplexStream stream,
        HandshakeFailure failure,
        string reason,
        CancellationToken cancellationToken,
        NodeId? dialled = null)
    {
        try
        {
            await using AuthenticatedConnection connection = await Handshake.PerformAsync(stream, _key, Info, dialled, cancellationToken: cancellationToken);
        }
        catch (HandshakeException e)
        {
            Assert.That(e.Message, Does.Contain(reason));
            Assert.That(e.Failure, Is.EqualTo(failure));
            Assert.That(stream.IsDisposed, Is.True, "the stream is closed");
            return e;
        }

        throw new AssertionException("The remote was not refused.");
    }
}
