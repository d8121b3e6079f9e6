using System.IO.Pipelines;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Cryptography;
using Pipeline.Wire;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Transport;

/// <summary>Settings of a <see cref="SecretConnection"/>.</summary>
public sealed record SecretConnectionOptions
{
    /// <summary>How long both sides may take to agree on keys and authenticate. Default 20 s.</summary>
    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>Where time comes from. Default: the system's clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>
    /// Whether the stream beneath stays open when the connection is disposed of, or does not come about. Default false. What ends a
    /// pending operation then is its token alone, so the stream has to heed it.
    /// </summary>
    public bool LeaveOpen { get; init; }
}

/// <summary>
/// An encrypted and mutually authenticated connection over any duplex stream of bytes: the station-to-station protocol of the
/// reference, with X25519, Ed25519 and ChaCha20-Poly1305.
/// </summary>
/// <remarks>
/// <para>It is a stream like any other; <see cref="Input"/> and <see cref="Output"/> are the same two directions without copies. One
/// read and one write may run at once; use either a direction's stream methods or its pipe, not both at the same moment.</para>
/// <para>While a read of the pipe, or of a stream into an empty buffer, waits, the connection over a socket owns no buffer; one into a buffer of up to 1 KiB
/// makes it own 4 KiB, a larger one 64 KiB.</para>
/// <para>Cancelling a read leaves the connection whole. Cancelling a write ends its sending direction, because part of a frame may
/// have been sent. The protocol has no closing message: an end of the stream between two frames is what <see cref="ReadAsync(Memory{byte}, CancellationToken)"/>
/// reports as the end, whoever caused it.</para>
/// <para>Source: <c>docs/protocol.md</c>, the secret connection.</para>
/// </remarks>
public sealed class SecretConnection : Stream
{
    // A proof with a secp256k1 key has 103 bytes; with room for keys of other kinds, so that the reason names what is wrong.
    private const int MaxAuthenticationSize = 1024;

    // The only legal first message: one field with a key.
    private const int EphemeralKeyMessageSize = 2 + EphemeralKey.Size;

    private readonly Stream _stream;
    private readonly FrameReader _input;
    private readonly FrameWriter _output;
    private readonly bool _leaveOpen;

    private SecretConnection(Stream stream, SessionSecrets secrets, bool leaveOpen)
    {
        _stream = stream;
        _leaveOpen = leaveOpen;
        _input = new FrameReader(stream, new FrameCipher(secrets.ReceiveKey));
        _output = new FrameWriter(stream, new FrameCipher(secrets.SendKey));
    }

    /// <summary>The key that the remote proved to own.</summary>
    public PublicKey RemotePublicKey { get; private set; } = null!;

    /// <summary>The remote's id, by its key.</summary>
    public NodeId RemoteId { get; private set; }

    /// <summary>What the remote sends, without copies.</summary>
    public PipeReader Input => _input;

    /// <summary>What goes to the remote, without copies: sealed and sent at each flush.</summary>
    public PipeWriter Output => _output;

    /// <inheritdoc />
    public override bool CanRead => true;

    /// <inheritdoc />
    public override bool CanSeek => false;

    /// <inheritdoc />
    public override bool CanWrite => true;

    /// <inheritdoc />
    public override bool CanTimeout => _stream.CanTimeout;

    /// <inheritdoc />
    public override int ReadTimeout
    {
        get => _stream.ReadTimeout;
        set => _stream.ReadTimeout = value;
    }

    /// <inheritdoc />
    public override int WriteTimeout
    {
        get => _stream.WriteTimeout;
        set => _stream.WriteTimeout = value;
    }

    /// <summary>Not supported.</summary>
    public override long Length => throw NotSeekable();

    /// <summary>Not supported.</summary>
    public override long Position
    {
        get => throw NotSeekable();
        set => throw NotSeekable();
    }

    /// <summary>
    /// Agrees on keys with whoever is at the other end of <paramref name="stream"/>, and lets both prove who they are. Both sides call
    /// this; there is no client or server.
    /// </summary>
    /// <param name="stream">A duplex stream of bytes, owned by the connection from now on unless the options say otherwise.</param>
    /// <param name="key">This node's key.</param>
    /// <param name="options">Settings, or null for the defaults.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <exception cref="HandshakeException">The connection did not come about; the exception says why.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    public static async Task<SecretConnection> EstablishAsync(
        Stream stream,
        NodeKey key,
        SecretConnectionOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(key);
        options ??= new SecretConnectionOptions();
        return await HandshakeStep.WithDeadlineAsync(
            token => EstablishAsync(stream, key, ephemeral: null, remoteBegins: false, options.LeaveOpen, token),
            options.LeaveOpen ? null : stream,
            options.HandshakeTimeout,
            options.TimeProvider,
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The handshake without a deadline of its own, and with a given ephemeral key where a test needs one.</summary>
    /// <param name="stream">A duplex stream of bytes.</param>
    /// <param name="key">This node's key.</param>
    /// <param name="ephemeral">The ephemeral key; null to make one.</param>
    /// <param name="remoteBegins">Whether to make and send no key before the remote's is here: one that sends none, or garbage, then costs no cryptography.</param>
    /// <param name="leaveOpen">Whether the stream stays open.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    internal static async Task<SecretConnection> EstablishAsync(
        Stream stream,
        NodeKey key,
        EphemeralKey? ephemeral,
        bool remoteBegins,
        bool leaveOpen,
        CancellationToken cancellationToken)
    {
        SecretConnection? connection = null;
        try
        {
            SessionSecrets secrets = await AgreeOnKeysAsync(stream, ephemeral, remoteBegins, cancellationToken).ConfigureAwait(false);
            connection = new SecretConnection(stream, secrets, leaveOpen);
            await connection.AuthenticateAsync(key, secrets.Challenge, cancellationToken).ConfigureAwait(false);
            return connection;
        }
        catch
        {
            if (connection is not null)
            {
                await connection.DisposeAsync().ConfigureAwait(false);
            }
            else if (!leaveOpen)
            {
                await stream.DisposeAsync().ConfigureAwait(false);
            }

            throw;
        }
    }

    /// <summary>
    /// Sends what was written and says that nothing more will come: the remote reads to the end, while this side can still read. Over a
    /// stream that is neither a socket's nor <see cref="IHalfClosable"/> the remote sees no end until the stream is closed.
    /// </summary>
    public async ValueTask CompleteWritesAsync()
    {
        await _output.CompleteAsync().ConfigureAwait(false);
        IHalfClosable.TryCompleteWrites(_stream);
    }

    /// <inheritdoc />
    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _input.ReadAsync(buffer, cancellationToken);

    /// <inheritdoc />
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        _input.ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc />
    public override int Read(Span<byte> buffer) => _input.Read(buffer);

    /// <inheritdoc />
    public override int Read(byte[] buffer, int offset, int count) => _input.Read(buffer.AsSpan(offset, count));

    /// <inheritdoc />
    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        _output.WriteAllAsync(buffer, cancellationToken);

    /// <inheritdoc />
    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        _output.WriteAllAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc />
    public override void Write(ReadOnlySpan<byte> buffer) => _output.Write(buffer);

    /// <inheritdoc />
    public override void Write(byte[] buffer, int offset, int count) => _output.Write(buffer.AsSpan(offset, count));

    /// <summary>Does nothing: every write is sent at once.</summary>
    public override void Flush()
    {
    }

    /// <summary>Does nothing: every write is sent at once.</summary>
    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Not supported.</summary>
    public override long Seek(long offset, SeekOrigin origin) => throw NotSeekable();

    /// <summary>Not supported.</summary>
    public override void SetLength(long value) => throw NotSeekable();

    /// <inheritdoc />
    public override async ValueTask DisposeAsync()
    {
        CloseDirections();
        if (!_leaveOpen)
        {
            await _stream.DisposeAsync().ConfigureAwait(false);
        }

        await base.DisposeAsync().ConfigureAwait(false);
    }

    /// <inheritdoc />
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            CloseDirections();
            if (!_leaveOpen)
            {
                _stream.Dispose();
            }
        }

        base.Dispose(disposing);
    }

    private void CloseDirections()
    {
        _input.Dispose();
        _output.Close();
    }

    private static async Task<SessionSecrets> AgreeOnKeysAsync(Stream stream, EphemeralKey? given, bool remoteBegins, CancellationToken cancellationToken)
    {
        byte[]? first = remoteBegins ? await ReadEphemeralKeyAsync(stream, cancellationToken).ConfigureAwait(false) : null;
        using EphemeralKey? made = given is null ? EphemeralKey.Create() : null;
        EphemeralKey local = given ?? made!;
        byte[] message = DelimitedMessage.Encode(new BytesValue { Value = ByteString.CopyFrom(local.PublicKey) });
        byte[] remote = await HandshakeStep.ExchangeAsync(
            stream,
            message,
            token => first is null ? ReadEphemeralKeyAsync(stream, token) : Task.FromResult(first),
            cancellationToken).ConfigureAwait(false);

        if (remote.AsSpan().SequenceEqual(local.PublicKey))
        {
            throw new HandshakeException(HandshakeFailure.UnsafeEphemeralKey, "The remote sent our own ephemeral key back.");
        }

        return local.TryAgree(remote, out byte[]? shared)
            ? SessionSecrets.Derive(shared, local.PublicKey, remote)
            : throw new HandshakeException(
                HandshakeFailure.UnsafeEphemeralKey,
                "The remote's ephemeral key is a point of low order, with which the keys of the connection would be known to everyone.");
    }

    private static async Task<byte[]> ReadEphemeralKeyAsync(Stream stream, CancellationToken cancellationToken)
    {
        BytesValue message;
        try
        {
            message = await DelimitedMessage.ReadAsync(
                stream,
                BytesValue.Parser,
                EphemeralKeyMessageSize,
                readAtOnce: 1 + EphemeralKeyMessageSize,
                "an ephemeral key",
                cancellationToken).ConfigureAwait(false);
        }
        catch (DelimitedMessageException e) when (e.Fault != DelimitedMessageFault.EndOfStream)
        {
            throw new HandshakeException(HandshakeFailure.InvalidEphemeralKey, $"The remote did not send an ephemeral key first. {e.Message}", e);
        }

        return message.Value.Length == EphemeralKey.Size
            ? message.Value.ToByteArray()
            : throw new HandshakeException(
                HandshakeFailure.InvalidEphemeralKey,
                message.Value.IsEmpty
                    ? "The remote's first message holds no ephemeral key."
                    : $"The remote's ephemeral key has {message.Value.Length} bytes, not {EphemeralKey.Size}.");
    }

    private async Task AuthenticateAsync(NodeKey key, byte[] challenge, CancellationToken cancellationToken)
    {
        byte[] message = DelimitedMessage.Encode(new AuthSigMessage
        {
            PubKey = new Wire.Protos.Crypto.PublicKey { Ed25519 = ByteString.CopyFrom(key.PublicKey.Span) },
            Sig = ByteString.CopyFrom(key.Sign(challenge)),
        });
        AuthSigMessage proof = await HandshakeStep.ExchangeAsync(this, message, ReadProofAsync, cancellationToken).ConfigureAwait(false);
        RemotePublicKey = CheckProof(proof, key, challenge);
        RemoteId = NodeId.FromPublicKey(RemotePublicKey);
    }

    private async Task<AuthSigMessage> ReadProofAsync(CancellationToken cancellationToken)
    {
        try
        {
            return await DelimitedMessage.ReadAsync(this, AuthSigMessage.Parser, MaxAuthenticationSize, "a proof of identity", cancellationToken)
                .ConfigureAwait(false);
        }
        catch (DelimitedMessageException e) when (e.Fault != DelimitedMessageFault.EndOfStream)
        {
            throw new HandshakeException(HandshakeFailure.InvalidAuthentication, $"The remote did not prove its identity. {e.Message}", e);
        }
    }

    private static PublicKey CheckProof(AuthSigMessage proof, NodeKey localKey, byte[] challenge)
    {
        switch (proof.PubKey?.SumCase)
        {
            case Wire.Protos.Crypto.PublicKey.SumOneofCase.Ed25519:
                break;
            case Wire.Protos.Crypto.PublicKey.SumOneofCase.Secp256K1:
                throw Invalid("The remote authenticates with a secp256k1 key; only Ed25519 keys are accepted.");
            default:
                throw Invalid("The remote's proof of its identity holds no public key.");
        }

        ByteString bytes = proof.PubKey.Ed25519;
        if (bytes.Length != PublicKey.Size)
        {
            throw Invalid($"The remote's Ed25519 key has {bytes.Length} bytes, not {PublicKey.Size}.");
        }

        if (proof.Sig.Length != PublicKey.SignatureSize)
        {
            throw Invalid($"The remote's signature has {proof.Sig.Length} bytes, not {PublicKey.SignatureSize}.");
        }

        PublicKey remote = new(bytes.Span);
        if (remote.Equals(localKey.PublicKey))
        {
            throw new HandshakeException(
                HandshakeFailure.Self,
                "The remote authenticated with this node's own key: it is this node itself, or reflects what we sent.")
            {
                RemoteId = localKey.Id,
            };
        }

        return remote.Verify(challenge, proof.Sig.Span)
            ? remote
            : throw new HandshakeException(
                HandshakeFailure.BadSignature,
                "The remote's signature is not one of its key over this connection's challenge.");

        static HandshakeException Invalid(string message) => new(HandshakeFailure.InvalidAuthentication, message);
    }

    private static NotSupportedException NotSeekable() => new("A connection has no length or position.");
}
