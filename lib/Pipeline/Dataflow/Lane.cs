namespace Pipeline.Dataflow;

/// <summary>The messages of one peer on one channel that wait for the reactor, in the order in which they came.</summary>
internal sealed class Lane(PeerLanes owner, ChannelDescriptor channel, ReceiveAllowance allowance)
{
    // What an envelope in a queue costs besides its bytes, so that empty messages do not count as nothing.
    private const int EnvelopeCost = 64;

    public ChannelDescriptor Channel => channel;

    // Guarded by the owner's gate. Invariant: Bytes is the sum of the costs in _items; those that came when the lane was full are charged
    // to the peer's allowance until they are taken. Served grows by the cost of what is taken.
    private readonly Queue<Item> _items = [];

    public int Count => _items.Count;

    public long Bytes { get; private set; }

    public long Served { get; set; }

    public long MessagesReceived { get; private set; }

    public long BytesReceived { get; private set; }

    /// <summary>Puts a message into the lane. It always finds room; the receiving loop stops when the peer's allowance is used up.</summary>
    public void Write(in Envelope envelope) => owner.Write(this, envelope);

    /// <summary>Called with the owner's gate held.</summary>
    public void Add(in Envelope envelope)
    {
        int cost = EnvelopeCost + envelope.Data.Length;
        bool isFull = _items.Count >= channel.ReceiveQueueCapacity || (_items.Count > 0 && Bytes + cost > channel.ReceiveQueueBytes);
        if (isFull)
        {
            allowance.Charge(cost);
        }

        _items.Enqueue(new Item(envelope, cost, isFull));
        Bytes += cost;
        MessagesReceived++;
        BytesReceived += envelope.Data.Length;
    }

    /// <summary>Called with the owner's gate held, when there is a message.</summary>
    public Envelope Take(out int charged)
    {
        Item item = _items.Dequeue();
        Bytes -= item.Cost;
        Served += item.Cost;
        charged = item.IsCharged ? item.Cost : 0;
        return item.Envelope;
    }

    /// <summary>Gives back what <see cref="Take"/> said was charged; without the gate, because it may wake the receiving loop.</summary>
    public void ReleaseCharge(long charged)
    {
        if (charged > 0)
        {
            allowance.Release(charged);
        }
    }

    private readonly record struct Item(Envelope Envelope, int Cost, bool IsCharged);
}
