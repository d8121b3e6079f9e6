using System.Buffers;
using System.Runtime.CompilerServices;
using Pipeline.Wire;

namespace Pipeline.Dataflow;

/// <summary>
/// Puts the packets of one peer together to messages, a channel at a time, and the messages into the lanes of their channels, several at once. Owned
/// by the receiving loop.
/// </summary>
internal sealed class ChannelDemultiplexer : IDisposable
{
    private readonly ChannelTable _channels;
    private readonly IPeer _peer;
    private readonly Lane[] _lanes;
    private readonly ReceiveAllowance _allowance;
    private readonly IKeepAliveTarget _keepAlive;
    private readonly ArrayPool<byte> _pool;
    private readonly IMessageCounter? _counter;

    // How many bytes of small messages of a channel share an array, and the largest that does.
    private const int SharedSize = 16 * 1024;
    private const int MaxSharedMessageSize = 2048;

    /// <summary>The most bytes of messages, with what a lane counts for each, that may have come without having been counted by their lanes.</summary>
    public const int MaxUncounted = PooledBuffer.MaxMessages * (Lane.EnvelopeCost + (2 * MaxSharedMessageSize));

    // Invariant: _partial[i] is the beginning of a message on the channel at index i. Between two calls of Deliver, _arrived[0, _count) are messages in the order
    // in which they came, and _shared[i] has the bytes of those on the channel at index i that are small. So small messages of one channel, and only of one,
    // keep each other's memory in use, and a lane gives them up in order.
    private readonly PartialMessage[] _partial;
    private readonly SharedArray[] _shared;
    private Arrived[]? _arrived;
    private int _count;

    public ChannelDemultiplexer(
        ChannelTable channels,
        IPeer peer,
        Lane[] lanes,
        ReceiveAllowance allowance,
        IKeepAliveTarget keepAlive,
        ArrayPool<byte> pool,
        IMessageCounter? counter = null)
    {
        _channels = channels;
        _peer = peer;
        _lanes = lanes;
        _allowance = allowance;
        _keepAlive = keepAlive;
        _pool = pool;
        _counter = counter;
        _partial = new PartialMessage[channels.Count];
        _shared = new SharedArray[channels.Count];
    }

    /// <summary>Takes a packet in. A message that it completes is in its lane by the next <see cref="Deliver()"/>.</summary>
    /// <param name="packet">The packet.</param>
    /// <param name="bytesBehind">How many bytes have come behind it, which may bring more messages before <see cref="Deliver()"/>.</param>
    /// <exception cref="PacketException">The packet is for a channel that this node does not have, or its message is too long.</exception>
    public void Accept(in Packet packet, int bytesBehind)
    {
        switch (packet.Kind)
        {
            case PacketKind.Ping:
                _keepAlive.OnPing();
                break;
            case PacketKind.Pong:
                _keepAlive.OnPong();
                break;
            default:
                AcceptData(packet.ChannelId, packet.EndOfMessage, packet.Data, bytesBehind);
                break;
        }
    }

    /// <summary>Whether no more packets should be accepted before <see cref="WaitForRoomAsync"/>.</summary>
    public bool IsFull => _allowance.IsUsedUp;

    public async ValueTask WaitForRoomAsync(CancellationToken cancellationToken)
    {
        if (_allowance.IsUsedUp)
        {
            _keepAlive.OnPause();
            try
            {
                await _allowance.WaitForRoomAsync(cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                _keepAlive.OnResume();
            }
        }
    }

    /// <summary>How much has come of a message of which the rest has not; read by anybody, at any time.</summary>
    public int GetPartialBytes(int index) => _partial[index].Length;

    /// <summary>Puts the messages that are complete into their lanes.</summary>
    public void Deliver()
    {
        if (_arrived is { } arrived)
        {
            Span<Arrived> messages = arrived.AsSpan(0, _count);
            Deliver(messages);

            // Somebody else's from now on, who must not keep what these messages took.
            messages.Clear();
            _count = 0;
            _arrived = null;
            ArrayPool<Arrived>.Shared.Return(arrived);
        }
    }

    /// <summary>Drops the messages that have not come to their end.</summary>
    public void Dispose()
    {
        foreach (ref PartialMessage partial in _partial.AsSpan())
        {
            partial.Drop(_pool);
        }
    }

    private void AcceptData(byte channelId, bool endOfMessage, ReadOnlySpan<byte> data, int bytesBehind)
    {
        int index = _channels.IndexOf(channelId);
        if (index < 0)
        {
            throw new PacketException(PacketFault.UnknownChannel, $"A packet is for channel 0x{channelId:x2}, which this node does not have.");
        }

        ChannelDescriptor channel = _channels[index];
        ref PartialMessage partial = ref _partial[index];
        if (partial.Length + data.Length > channel.MaxMessageSize)
        {
            throw new PacketException(
                PacketFault.MessageTooLong,
                $"A message on channel {channel} is longer than the {channel.MaxMessageSize} bytes that the channel allows.");
        }

        if (endOfMessage && partial.Length == 0 && data.Length <= MaxSharedMessageSize)
        {
            _counter?.Received(channel, data);
            AddSmall(index, data, bytesBehind);
            return;
        }

        partial.Append(data, channel.MaxMessageSize, _pool);
        if (endOfMessage)
        {
            _counter?.Received(channel, partial.Span);
            Add(new Arrived(index, 0, partial.Length, 0, partial.Take(_pool)));

            // So that no more than one of these waits to be counted by its lane.
            Deliver();
        }
    }

    private void AddSmall(int index, ReadOnlySpan<byte> data, int bytesBehind)
    {
        ref SharedArray shared = ref _shared[index];
        if (!shared.TryAdd(data, out int offset, out int place))
        {
            if (shared.Array is not null)
            {
                Deliver();
            }

            // Enough for what may come with it, if that is alike. A lane that drops the newest may keep one of each array, so these do not share.
            int messages = _channels[index].WhenFull == FullLanePolicy.DropNewest ? 1 : PooledBuffer.MaxMessages;
            int most = Math.Min(SharedSize, data.Length * messages);
            shared.Begin(Math.Min(data.Length + bytesBehind, most), _pool);
            shared.TryAdd(data, out offset, out place);
        }

        Add(new Arrived(index, offset, data.Length, place, Whole: null));
    }

    private void Add(in Arrived message)
    {
        (_arrived ??= ArrayPool<Arrived>.Shared.Rent(PooledBuffer.MaxMessages))[_count++] = message;
        if (_count == PooledBuffer.MaxMessages)
        {
            Deliver();
        }
    }

    private void Deliver(ReadOnlySpan<Arrived> arrived)
    {
        foreach (ref SharedArray shared in _shared.AsSpan())
        {
            shared.End(_pool);
        }

        // One owner after the other, in order for each; nearly always there is only one.
        Arrivals buffer = default;
        Span<Arrival> arrivals = buffer;
        int count = 0;
        foreach (ref readonly Arrived message in arrived)
        {
            Lane lane = _lanes[message.Channel];
            if (count > 0 && arrivals[0].Lane.Owner != lane.Owner)
            {
                arrivals[0].Lane.Owner.Write(arrivals[..count]);
                count = 0;
            }

            arrivals[count++] = new Arrival(lane, ToEnvelope(message));
        }

        arrivals[0].Lane.Owner.Write(arrivals[..count]);
        foreach (ref SharedArray shared in _shared.AsSpan())
        {
            shared = default;
        }
    }

    private Envelope ToEnvelope(in Arrived message)
    {
        ChannelDescriptor channel = _channels[message.Channel];
        if (message.Whole is { } whole)
        {
            return new Envelope(_peer, channel, whole.AsMemory(0, message.Length), new PooledBuffer(_pool, whole));
        }

        ref readonly SharedArray shared = ref _shared[message.Channel];
        return new Envelope(_peer, channel, shared.Array.AsMemory(message.Offset, message.Length), shared.Owner, message.Place);
    }

    /// <summary>A message that is complete: in an array of its own, or at a place in its channel's shared one.</summary>
    private readonly record struct Arrived(int Channel, int Offset, int Length, int Place, byte[]? Whole);

    [InlineArray(PooledBuffer.MaxMessages)]
    private struct Arrivals
    {
        private Arrival _first;
    }

    /// <summary>Small messages of one channel, one behind the other. A mutable struct: keep it in a field.</summary>
    private struct SharedArray
    {
        // Invariant: Array[0, _used) holds _count messages. It is the pool's when _isPooled, until Owner has it.
        private int _used;
        private int _count;
        private bool _isPooled;

        public byte[]? Array { get; private set; }

        public PooledBuffer? Owner { get; private set; }

        public void Begin(int size, ArrayPool<byte> pool)
        {
            _isPooled = size > PooledBuffer.MaxUnpooledSize;
            Array = _isPooled ? pool.Rent(size) : GC.AllocateUninitializedArray<byte>(size);
        }

        public bool TryAdd(ReadOnlySpan<byte> data, out int offset, out int place)
        {
            offset = _used;
            place = _count;
            if (Array is null || data.Length > Array.Length - _used)
            {
                return false;
            }

            data.CopyTo(Array.AsSpan(_used));
            _used += data.Length;
            _count++;
            return true;
        }

        /// <summary>Nothing is added any more. What turned out to be much less than the array has room for gets a smaller one.</summary>
        public void End(ArrayPool<byte> pool)
        {
            if (Array is null || (!_isPooled && _used == Array.Length))
            {
                return;
            }

            if (!_isPooled || _used <= Array.Length / 2)
            {
                byte[] large = Array;
                bool wasPooled = _isPooled;
                Begin(_used, pool);
                large.AsSpan(0, _used).CopyTo(Array);
                if (wasPooled)
                {
                    pool.Return(large);
                }
            }

            Owner = _isPooled ? new PooledBuffer(pool, Array, _count) : null;
        }
    }

    /// <summary>The beginning of a message, in one pooled array that grows. A mutable struct: keep it in a field.</summary>
    private struct PartialMessage
    {
        private const int MinSize = 4096;

        // Invariant: _buffer[0, Length) is what came so far; null when nothing did. _expected is the length of the message before this one, which is a good
        // guess: an array that has to grow is copied.
        private byte[]? _buffer;
        private int _expected;

        public int Length { get; private set; }

        public readonly ReadOnlySpan<byte> Span => _buffer.AsSpan(0, Length);

        public void Append(ReadOnlySpan<byte> data, int maxSize, ArrayPool<byte> pool)
        {
            if (data.IsEmpty)
            {
                return;
            }

            int length = Length + data.Length;
            if (_buffer is null)
            {
                _buffer = pool.Rent(Math.Max(length, Math.Min(Math.Max(MinSize, _expected), maxSize)));
            }
            else if (length > _buffer.Length)
            {
                byte[] larger = pool.Rent((int)Math.Max(length, Math.Min(2L * _buffer.Length, maxSize)));
                _buffer.AsSpan(0, Length).CopyTo(larger);
                pool.Return(_buffer);
                _buffer = larger;
            }

            data.CopyTo(_buffer.AsSpan(Length));
            Length = length;
        }

        /// <summary>Hands the array over, with the message at its beginning; a smaller one when the guess was much too large.</summary>
        public byte[] Take(ArrayPool<byte> pool)
        {
            byte[] buffer = _buffer!;
            if (buffer.Length > MinSize && Length <= buffer.Length / 2)
            {
                byte[] large = buffer;
                buffer = pool.Rent(Length);
                large.AsSpan(0, Length).CopyTo(buffer);
                pool.Return(large);
            }

            _buffer = null;
            _expected = Length;
            Length = 0;
            return buffer;
        }

        public void Drop(ArrayPool<byte> pool)
        {
            if (_buffer is not null)
            {
                pool.Return(_buffer);
                _buffer = null;
                Length = 0;
            }
        }
    }
}
