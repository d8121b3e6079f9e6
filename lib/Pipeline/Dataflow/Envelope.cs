namespace Pipeline.Dataflow;

/// <summary>A message that a peer sent, as it came: not parsed.</summary>
public readonly struct Envelope
{
    private readonly PooledBuffer? _owner;
    private readonly byte _place;

    /// <summary>Makes an envelope, as tests of reactors may want to.</summary>
    /// <param name="peer">The sender.</param>
    /// <param name="channel">The channel of the message.</param>
    /// <param name="data">The bytes of the message.</param>
    public Envelope(IPeer peer, ChannelDescriptor channel, ReadOnlyMemory<byte> data)
        : this(peer, channel, data, owner: null)
    {
    }

    /// <param name="peer">The sender.</param>
    /// <param name="channel">The channel of the message.</param>
    /// <param name="data">The bytes of the message.</param>
    /// <param name="owner">What holds the bytes; null when the garbage collector does.</param>
    /// <param name="place">Which of the owner's messages it is.</param>
    internal Envelope(IPeer peer, ChannelDescriptor channel, ReadOnlyMemory<byte> data, PooledBuffer? owner, int place = 0)
    {
        Peer = peer;
        Channel = channel;
        Data = data;
        _owner = owner;
        _place = (byte)place;
    }

    /// <summary>The sender.</summary>
    public IPeer Peer { get; }

    /// <summary>The channel of the message.</summary>
    public ChannelDescriptor Channel { get; }

    /// <summary>The bytes of the message, until <see cref="Release"/>.</summary>
    public ReadOnlyMemory<byte> Data { get; }

    /// <summary>The bytes of memory that the message takes.</summary>
    internal int Footprint => _owner?.Share ?? Data.Length;

    /// <summary>
    /// Gives the bytes back to the pool they may have come from; nobody may read them afterwards. Who does not call this leaves them to
    /// the garbage collector. A second call, also on a copy, does nothing.
    /// </summary>
    public void Release() => _owner?.Release(_place);
}
