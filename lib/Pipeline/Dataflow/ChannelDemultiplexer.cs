using System.Buffers;
using Pipeline.Wire;

namespace Pipeline.Dataflow;

/// <summary>
/// Puts the packets of one peer together to messages, a channel at a time, and each message into the lane of its channel. Owned by the
/// receiving loop.
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

    // Invariant: _partial[i] is the beginning of a message on the channel at index i.
    private readonly PartialMessage[] _partial;

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
    }

    /// <exception cref="PacketException">The packet is for a channel that this node does not have, or its message is too long.</exception>
    public void Accept(in Packet packet)
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
                AcceptData(packet.ChannelId, packet.EndOfMessage, packet.Data);
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

    /// <summary>Drops the messages that have not come to their end.</summary>
    public void Dispose()
    {
        foreach (ref PartialMessage partial in _partial.AsSpan())
        {
            partial.Drop(_pool);
        }
    }

    private void AcceptData(byte channelId, bool endOfMessage, ReadOnlySpan<byte> data)
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

        if (!endOfMessage)
        {
            partial.Append(data, channel.MaxMessageSize, _pool);
        }
        else if (partial.Length == 0)
        {
            _counter?.Received(channel, data);
            _lanes[index].Write(new Envelope(_peer, channel, data.ToArray()));
        }
        else
        {
            partial.Append(data, channel.MaxMessageSize, _pool);
            _counter?.Received(channel, partial.Span);
            _lanes[index].Write(partial.ToEnvelope(_peer, channel, _pool));
        }
    }

    /// <summary>The beginning of a message, in one pooled array that grows. A mutable struct: keep it in a field.</summary>
    private struct PartialMessage
    {
        private const int MinSize = 4096;

        // Invariant: _buffer[0, Length) is what came so far; null when nothing did.
        private byte[]? _buffer;

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
                _buffer = pool.Rent(Math.Max(length, Math.Min(MinSize, maxSize)));
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

        /// <summary>Hands the message, with its buffer, over to an envelope.</summary>
        public Envelope ToEnvelope(IPeer peer, ChannelDescriptor channel, ArrayPool<byte> pool)
        {
            byte[] buffer = _buffer!;
            Envelope envelope = new(peer, channel, buffer.AsMemory(0, Length), new PooledBuffer(pool, buffer));
            _buffer = null;
            Length = 0;
            return envelope;
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
