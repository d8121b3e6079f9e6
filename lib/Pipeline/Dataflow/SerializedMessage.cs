using System.Buffers;
using Google.Protobuf;

namespace Pipeline.Dataflow;

/// <summary>
/// A message for a channel as the bytes that go on the wire: serialised once, however many peers it is sent to, into pooled memory (unless it is small) that
/// is given back when its creator has disposed of it and the last queue is done with it.
/// </summary>
public sealed class SerializedMessage : IDisposable
{
    // Invariant: _references counts the creator, until it disposes, and every queue that holds the message. Whoever takes it to zero
    // returns _buffer, if it is a _pool's; nobody reads it after that.
    private readonly ArrayPool<byte>? _pool;
    private readonly byte[] _buffer;
    private int _references = 1;
    private int _disposed;

    private SerializedMessage(ChannelDescriptor channel, ArrayPool<byte> pool, int length)
    {
        _pool = length > PooledBuffer.MaxUnpooledSize ? pool : null;
        Channel = channel;
        _buffer = _pool?.Rent(length) ?? GC.AllocateUninitializedArray<byte>(length);
        Length = length;
    }

    /// <summary>The channel that the message is for.</summary>
    public ChannelDescriptor Channel { get; }

    /// <summary>The length of the message in bytes.</summary>
    public int Length { get; }

    /// <summary>The bytes of the message, until it is disposed of.</summary>
    public ReadOnlySpan<byte> Span => _buffer.AsSpan(0, Length);

    /// <summary>Serialises <paramref name="message"/>.</summary>
    public static SerializedMessage Create(ChannelDescriptor channel, IMessage message) => Create(channel, message, ArrayPool<byte>.Shared);

    /// <summary>Takes a copy of <paramref name="message"/>, which is serialised already.</summary>
    public static SerializedMessage Create(ChannelDescriptor channel, ReadOnlySpan<byte> message) =>
        Create(channel, message, ArrayPool<byte>.Shared);

    internal static SerializedMessage Create(ChannelDescriptor channel, IMessage message, ArrayPool<byte> pool)
    {
        ArgumentNullException.ThrowIfNull(channel);
        ArgumentNullException.ThrowIfNull(message);
        SerializedMessage serialized = new(channel, pool, message.CalculateSize());
        try
        {
            message.WriteTo(serialized._buffer.AsSpan(0, serialized.Length));
            return serialized;
        }
        catch
        {
            // Somebody changed the message meanwhile.
            serialized.Release();
            throw;
        }
    }

    internal static SerializedMessage Create(ChannelDescriptor channel, ReadOnlySpan<byte> message, ArrayPool<byte> pool)
    {
        ArgumentNullException.ThrowIfNull(channel);
        SerializedMessage serialized = new(channel, pool, message.Length);
        message.CopyTo(serialized._buffer);
        return serialized;
    }

    /// <summary>Says that the creator is done with the message. Queues that hold it are not affected. A second call does nothing.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            Release();
        }
    }

    /// <summary>
    /// The same message with one more holder, for a block that hands it to several targets: the cloning function of a
    /// <c>BroadcastBlock</c>. Each target that accepts it is done with it by itself.
    /// </summary>
    /// <exception cref="ObjectDisposedException">Everybody is done with the message.</exception>
    public SerializedMessage Share()
    {
        AddReference();
        return this;
    }

    /// <summary>Whoever holds the message may let one more hold it.</summary>
    internal void AddReference()
    {
        int references = Volatile.Read(ref _references);
        while (true)
        {
            ObjectDisposedException.ThrowIf(references <= 0, this);
            int was = Interlocked.CompareExchange(ref _references, references + 1, references);
            if (was == references)
            {
                return;
            }

            references = was;
        }
    }

    internal void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            _pool?.Return(_buffer);
        }
    }
}
