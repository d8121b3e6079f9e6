using System.Threading.Tasks.Dataflow;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Conformance;

/// <summary>A source that numbers can be fed into.</summary>
public abstract class SourceUnderTest<T> : IDisposable
{
    public abstract ISourceBlock<T> Block { get; }

    public abstract void Feed(int value);

    public abstract int ValueOf(T item);

    public virtual void Dispose() => GC.SuppressFinalize(this);
}

/// <summary>The framework's own, which says what is right.</summary>
public sealed class BufferBlockSource : SourceUnderTest<int>
{
    private readonly BufferBlock<int> _block = new();

    public override ISourceBlock<int> Block => _block;

    public override void Feed(int value) => _block.Post(value);

    public override int ValueOf(int item) => item;
}

/// <summary>The inbox of a reactor, which gets the numbers from a peer.</summary>
public sealed class ReactorInboxSource : SourceUnderTest<Envelope>
{
    private static readonly ChannelDescriptor Channel = new(1, "numbers");

    private readonly ReactorInbox _inbox = new([Channel]);
    private readonly StubPeer _peer = new();
    private readonly Lane _lane;

    public ReactorInboxSource() => _lane = _inbox.Open(new ReceiveAllowance(1 << 20), CancellationToken.None).Lanes[0];

    public override ISourceBlock<Envelope> Block => _inbox;

    public override void Feed(int value) => _lane.Write(new Envelope(_peer, Channel, BitConverter.GetBytes(value)));

    public override int ValueOf(Envelope item) => BitConverter.ToInt32(item.Data.Span);

    public override void Dispose()
    {
        _peer.Dispose();
        base.Dispose();
    }
}

/// <summary>The source of a reactor that sees messages parsed.</summary>
public sealed class DataflowReactorSource : SourceUnderTest<Envelope<Int32Value>>
{
    private static readonly ChannelDescriptor<Int32Value> Channel = new(1, "numbers", Int32Value.Parser);

    private readonly DataflowReactor<Int32Value> _reactor = new("numbers", Channel);
    private readonly StubPeer _peer = new();
    private readonly Lane _lane;

    public DataflowReactorSource() => _lane = _reactor.Inbox.Open(new ReceiveAllowance(1 << 20), CancellationToken.None).Lanes[0];

    public override ISourceBlock<Envelope<Int32Value>> Block => _reactor.Source;

    public override void Feed(int value)
    {
        // Every other message is none: a source of parsed messages goes on as if it had not come.
        _lane.Write(new Envelope(_peer, Channel, new byte[] { 0xff }));
        _lane.Write(new Envelope(_peer, Channel, new Int32Value { Value = value }.ToByteArray()));
    }

    public override int ValueOf(Envelope<Int32Value> item) => item.Message.Value;

    public override void Dispose()
    {
        _peer.Dispose();
        base.Dispose();
    }
}
