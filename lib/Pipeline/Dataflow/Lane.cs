namespace Pipeline.Dataflow;

/// <summary>The messages of one peer on one channel that wait for the reactor, in the order in which they came.</summary>
internal sealed class Lane(PeerLanes owner, ChannelDescriptor channel, ReceiveAllowance allowance)
{
    /// <summary>
    /// What a message in a lane costs besides its bytes: its place in the queue, which may be half empty, the header of its array, and what holds a pooled one. So
    /// empty messages do not count as nothing.
    /// </summary>
    public const int EnvelopeCost = 192;

    public ChannelDescriptor Channel => channel;

    // Guarded by the owner's gate. Invariant: Bytes is the sum of the costs in _items; those that came when the lane was full are charged
    // to the peer's allowance until they are taken. Served grows by the cost of what is taken.
    private Deque<Item> _items = new();

    public int Count => _items.Count;

    public long Bytes { get; private set; }

    public long Served { get; set; }

    public long MessagesReceived { get; private set; }

    public long BytesReceived { get; private set; }

    public long MessagesDropped { get; private set; }

    /// <summary>What a message counts, in bytes, where messages wait and where they are served.</summary>
    public static int CostOf(in Envelope envelope) => EnvelopeCost + envelope.Footprint;

    /// <summary>Whose lane it is.</summary>
    public PeerLanes Owner => owner;

    /// <summary>Puts a message into the lane, or does with it what the channel says when the lane is full.</summary>
    public void Write(in Envelope envelope) => owner.Write([new Arrival(this, envelope)]);

    /// <summary>Called with the owner's gate held. False when the message makes its peer be disconnected.</summary>
    /// <param name="envelope">The message.</param>
    /// <param name="dropped">Messages that are not to be dealt with, for the caller to release without the gate.</param>
    public bool TryAdd(in Envelope envelope, ref List<Envelope>? dropped)
    {
        int cost = CostOf(envelope);
        MessagesReceived++;
        BytesReceived += envelope.Data.Length;
        if (!IsFull(cost))
        {
            Enqueue(envelope, cost, isCharged: false);
            return true;
        }

        switch (channel.WhenFull)
        {
            case FullLanePolicy.Wait:
                allowance.Charge(cost);
                Enqueue(envelope, cost, isCharged: true);
                return true;
            case FullLanePolicy.DropOldest:
                while (_items.Count > 0 && IsFull(cost))
                {
                    Drop(Take().Envelope, ref dropped);
                }

                Enqueue(envelope, cost, isCharged: false);
                return true;
            default:
                Drop(envelope, ref dropped);
                return channel.WhenFull != FullLanePolicy.Disconnect;
        }
    }

    /// <summary>Called with the owner's gate held, when there is a message.</summary>
    public Item Take()
    {
        Item item = _items.First;
        _items.RemoveFirst();
        Bytes -= item.Cost;
        Served += item.Cost;
        return item;
    }

    /// <summary>What the next message counts; called with the owner's gate held, when there is one.</summary>
    public int NextCost => _items.First.Cost;

    /// <summary>Undoes the take of the message that was taken last and not put back; called with the owner's gate held.</summary>
    public void PutBack(in Item item)
    {
        _items.AddFirst(item);
        Bytes += item.Cost;
        Served -= item.Cost;
    }

    /// <summary>Gives back what the items that were taken were charged; without the gate, because it may wake the receiving loop.</summary>
    public void ReleaseCharge(long charged)
    {
        if (charged > 0)
        {
            allowance.Release(charged);
        }
    }

    private bool IsFull(int cost) =>
        _items.Count >= channel.ReceiveQueueCapacity || (_items.Count > 0 && Bytes + cost > channel.ReceiveQueueBytes);

    private void Enqueue(in Envelope envelope, int cost, bool isCharged)
    {
        _items.AddLast(new Item(envelope, cost, isCharged));
        Bytes += cost;
    }

    private void Drop(in Envelope envelope, ref List<Envelope>? dropped)
    {
        (dropped ??= []).Add(envelope);
        MessagesDropped++;
    }

    /// <summary>A message, what it counts, and whether that is charged to the peer's allowance.</summary>
    public readonly record struct Item(Envelope Envelope, int Cost, bool IsCharged)
    {
        public int Charge => IsCharged ? Cost : 0;
    }
}

/// <summary>A message that has come, and where it goes.</summary>
internal readonly record struct Arrival(Lane Lane, Envelope Envelope);
