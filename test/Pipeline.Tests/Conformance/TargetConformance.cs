using System.Threading.Tasks.Dataflow;
using Pipeline.Dataflow;

namespace Pipeline.Tests.Conformance;

[Description("What the framework's ActionBlock does as a target.")]
public sealed class ActionBlockConformance() : TargetConformance<int>(() => new ActionBlockTarget());

[Description("The same of what waits to be sent to a peer.")]
public sealed class PrioritySendBlockConformance() : TargetConformance<SerializedMessage>(() => new PrioritySendBlockTarget());

[Description("The same of where a reactor puts what it sends.")]
public sealed class ReactorOutboxConformance() : TargetConformance<OutboundEnvelope>(() => new ReactorOutboxTarget());

/// <summary>The dataflow protocol as a bounded target speaks it; each case holds for every target.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
public abstract class TargetConformance<T>(Func<TargetUnderTest<T>> create) : IDisposable
{
    private const int Capacity = TargetUnderTest<T>.Capacity;
    private static readonly DataflowLinkOptions Propagate = new() { PropagateCompletion = true };

    private readonly TargetUnderTest<T> _target = create();

    private ITargetBlock<T> Block => _target.Block;

    public void Dispose()
    {
        _target.Dispose();
        GC.SuppressFinalize(this);
    }

    [Test]
    public async Task It_accepts_as_many_as_it_has_room_for()
    {
        await FillAsync();
        Assert.That(Block.Post(_target.Make(9)), Is.False);
        _target.Release(Capacity);
        for (int value = 0; value < Capacity; value++)
        {
            Assert.That(await _target.NextDoneAsync(), Is.EqualTo(value));
        }
    }

    [Test]
    public async Task Without_room_an_offer_is_declined_or_postponed_when_it_has_a_source()
    {
        await FillAsync();
        Assert.That(Block.OfferMessage(new DataflowMessageHeader(1), _target.Make(9), null, false), Is.EqualTo(DataflowMessageStatus.Declined));
        Assert.That(Source(9).OfferTo(Block), Is.EqualTo(DataflowMessageStatus.Postponed));
        Assert.That(Source(9).OfferTo(Block, consumeToAccept: true), Is.EqualTo(DataflowMessageStatus.Postponed));
    }

    [Test]
    public void Arguments_are_checked()
    {
        Assert.That(() => Block.OfferMessage(default, _target.Make(1), null, false), Throws.ArgumentException);
        Assert.That(() => Block.OfferMessage(new DataflowMessageHeader(1), _target.Make(1), null, true), Throws.ArgumentException);
        Assert.That(() => Block.Fault(null!), Throws.ArgumentNullException);
    }

    [Test]
    public async Task It_consumes_what_it_has_to_consume_to_accept()
    {
        ProbeSource<T> source = Source(7);
        Assert.That(source.OfferTo(Block, consumeToAccept: true), Is.EqualTo(DataflowMessageStatus.Accepted));
        (string request, ITargetBlock<T> by) = await source.NextRequestAsync();
        Assert.That(request, Is.EqualTo("consume"));
        Assert.That(by, Is.SameAs(Block));
        _target.Release();
        Assert.That(await _target.NextDoneAsync(), Is.EqualTo(7));
    }

    [Test]
    public async Task What_is_gone_when_it_consumes_takes_no_room()
    {
        for (int i = 0; i < 2 * Capacity; i++)
        {
            ProbeSource<T> source = Source(9);
            source.Withdraw();
            Assert.That(source.OfferTo(Block, consumeToAccept: true), Is.EqualTo(DataflowMessageStatus.NotAvailable));
        }

        await FillAsync();
        _target.Release(Capacity);
        Assert.That(await _target.NextDoneAsync(), Is.Zero);
    }

    [Test]
    public async Task What_it_postponed_it_consumes_when_it_has_room_in_the_order_of_the_offers()
    {
        await FillAsync();
        ProbeSource<T>[] sources = [Source(10), Source(11), Source(12)];
        foreach (ProbeSource<T> source in sources)
        {
            Assert.That(source.OfferTo(Block), Is.EqualTo(DataflowMessageStatus.Postponed));
        }

        foreach (ProbeSource<T> source in sources)
        {
            _target.Release();
            (string request, ITargetBlock<T> by) = await source.NextRequestAsync();
            Assert.That(request, Is.EqualTo("consume"));
            Assert.That(by, Is.SameAs(Block), "the source knows it by what it was linked to");
        }

        _target.Release(Capacity);
        foreach (int value in new[] { 0, 1, 2, 10, 11, 12 })
        {
            Assert.That(await _target.NextDoneAsync(), Is.EqualTo(value));
        }
    }

    [Test]
    public async Task Room_for_what_is_gone_goes_to_the_next()
    {
        await FillAsync();
        ProbeSource<T> gone = Source(10);
        ProbeSource<T> there = Source(11);
        gone.OfferTo(Block);
        there.OfferTo(Block);
        gone.Withdraw();
        _target.Release();
        await gone.NextRequestAsync();
        await there.NextRequestAsync();
        _target.Release(Capacity);
        foreach (int value in new[] { 0, 1, 2, 11 })
        {
            Assert.That(await _target.NextDoneAsync(), Is.EqualTo(value));
        }
    }

    [Test]
    public async Task An_offer_that_is_made_again_is_consumed_once()
    {
        await FillAsync();
        ProbeSource<T> source = Source(10);
        source.OfferTo(Block);
        source.OfferTo(Block);
        _target.Release(Capacity + 1);
        foreach (int value in new[] { 0, 1, 2, 10 })
        {
            Assert.That(await _target.NextDoneAsync(), Is.EqualTo(value));
        }

        Block.Complete();
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(_target.Done(), Is.Empty);
    }

    [Test]
    public async Task After_completion_it_declines_for_ever_and_deals_with_what_it_has()
    {
        await FillAsync();
        Block.Complete();
        Block.Complete();
        Assert.That(Source(9).OfferTo(Block), Is.EqualTo(DataflowMessageStatus.DecliningPermanently));
        Assert.That(Block.Post(_target.Make(9)), Is.False);
        Assert.That(await Block.SendAsync(_target.Make(9)).WaitAsync(TestLimit.Time), Is.False);
        Assert.That(Block.Completion.IsCompleted, Is.False);
        _target.Release(Capacity);
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(_target.Done(), Is.EqualTo(new[] { 0, 1, 2 }));
    }

    [Test]
    public async Task Completed_with_nothing_in_it_it_is_done()
    {
        Block.Complete();
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(Block.Completion.IsCompletedSuccessfully, Is.True);
    }

    [Test]
    public async Task What_it_postponed_before_its_end_it_gives_back_so_that_others_get_it()
    {
        await FillAsync();
        BufferBlock<T> source = new();
        ProbeTarget<T> other = new(DataflowMessageStatus.Postponed);
        source.LinkTo(Block);
        source.LinkTo(other);
        source.Post(_target.Make(10));
        await other.NextOfferAsync();
        other.Answer = DataflowMessageStatus.Accepted;
        Block.Complete();
        _target.Release(Capacity);
        Assert.That(_target.ValueOf((await other.NextOfferAsync()).Value), Is.EqualTo(10));
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(_target.Done(), Is.EqualTo(new[] { 0, 1, 2 }));
    }

    [Test]
    public async Task A_fault_drops_what_waits_and_shows_in_the_completion()
    {
        await FillAsync();
        InvalidOperationException failure = new("broken");
        Block.Fault(failure);
        Assert.That(Source(9).OfferTo(Block), Is.EqualTo(DataflowMessageStatus.DecliningPermanently));
        _target.Release(Capacity);
        Assert.That(await FailureOf(Block.Completion), Is.SameAs(failure));
        Assert.That(_target.Done().Count(), Is.LessThan(Capacity), "only what it had begun with");
    }

    [Test]
    public async Task A_fault_after_completion_drops_what_waits_and_does_not_show()
    {
        await FillAsync();
        Block.Complete();
        Block.Fault(new InvalidOperationException("too late"));
        _target.Release(Capacity);
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(Block.Completion.IsCompletedSuccessfully, Is.True);
        Assert.That(_target.Done().Count(), Is.LessThan(Capacity));
    }

    [Test]
    public async Task One_can_wait_for_room()
    {
        await FillAsync();
        Task<bool> waiting = Block.SendAsync(_target.Make(3));
        Assert.That(waiting.IsCompleted, Is.False);
        _target.Release();
        Assert.That(await waiting.WaitAsync(TestLimit.Time), Is.True);
        _target.Release(Capacity);
        for (int value = 0; value < Capacity + 1; value++)
        {
            Assert.That(await _target.NextDoneAsync(), Is.EqualTo(value));
        }
    }

    [Test]
    public async Task Who_stops_waiting_for_room_leaves_nothing_behind()
    {
        await FillAsync();
        using CancellationTokenSource cancel = new();
        Task<bool> cancelled = Block.SendAsync(_target.Make(9), cancel.Token);
        Task<bool> patient = Block.SendAsync(_target.Make(3));
        await cancel.CancelAsync();
        Assert.That(async () => await cancelled.WaitAsync(TestLimit.Time), Throws.InstanceOf<OperationCanceledException>());
        _target.Release(Capacity + 1);
        Assert.That(await patient.WaitAsync(TestLimit.Time), Is.True);
        for (int value = 0; value < Capacity + 1; value++)
        {
            Assert.That(await _target.NextDoneAsync(), Is.EqualTo(value));
        }

        Block.Complete();
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(_target.Done(), Is.Empty);
    }

    [Test]
    public async Task Who_waits_for_room_learns_of_the_end()
    {
        await FillAsync();
        Task<bool> waiting = Block.SendAsync(_target.Make(9));
        Block.Complete();
        _target.Release(Capacity);
        Assert.That(await waiting.WaitAsync(TestLimit.Time), Is.False);
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(_target.Done(), Is.EqualTo(new[] { 0, 1, 2 }));
    }

    [Test]
    public async Task A_linked_source_is_held_back_and_loses_nothing_not_even_its_completion()
    {
        const int count = 500;
        BufferBlock<T> source = Buffer(0, count);
        source.LinkTo(Block, Propagate);
        source.Complete();
        for (int value = 0; value < count; value++)
        {
            Assert.That(source.Count, Is.GreaterThanOrEqualTo(count - value - Capacity));
            _target.Release();
            Assert.That(await _target.NextDoneAsync(), Is.EqualTo(value));
        }

        await Block.Completion.WaitAsync(TestLimit.Time);
    }

    [Test]
    public async Task The_fault_of_a_linked_source_becomes_its_own()
    {
        InvalidOperationException failure = new("broken");
        BufferBlock<T> source = new();
        source.LinkTo(Block, Propagate);
        ((IDataflowBlock)source).Fault(failure);
        Assert.That(await FailureOf(Block.Completion), Is.SameAs(failure));
    }

    [Test]
    public async Task A_link_for_some_messages_brings_that_many_also_when_they_were_postponed()
    {
        const int max = 2 * Capacity;
        BufferBlock<T> source = Buffer(0, max + 2);
        ProbeTarget<T> rest = new(DataflowMessageStatus.Declined);
        source.LinkTo(Block, new DataflowLinkOptions { MaxMessages = max });
        source.LinkTo(rest);
        for (int value = 0; value < max; value++)
        {
            _target.Release();
            Assert.That(await _target.NextDoneAsync(), Is.EqualTo(value));
        }

        while (_target.ValueOf((await rest.NextOfferAsync()).Value) < max)
        {
        }

        Block.Complete();
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(source.Count, Is.EqualTo(2));
        Assert.That(_target.Done(), Is.Empty);
    }

    [Test]
    public async Task A_filter_before_it_keeps_away_what_it_should()
    {
        BufferBlock<T> source = Buffer(0, 20);
        source.LinkTo(Block, Propagate, item => _target.ValueOf(item) % 2 == 0);
        source.LinkTo(DataflowBlock.NullTarget<T>(), item => _target.ValueOf(item) % 2 != 0);
        source.Complete();
        _target.Release(20);
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(_target.Done(), Is.EqualTo(Enumerable.Range(0, 10).Select(i => 2 * i)));
    }

    [Test]
    public async Task Unlinked_in_the_middle_it_gets_no_more()
    {
        BufferBlock<T> source = Buffer(0, 2);
        IDisposable link = source.LinkTo(Block);
        _target.Release(2);
        Assert.That(await _target.NextDoneAsync(), Is.Zero);
        Assert.That(await _target.NextDoneAsync(), Is.EqualTo(1));
        link.Dispose();
        source.Post(_target.Make(2));
        ProbeTarget<T> next = new(DataflowMessageStatus.Accepted);
        source.LinkTo(next);
        Assert.That(_target.ValueOf((await next.NextOfferAsync()).Value), Is.EqualTo(2));
    }

    [Test]
    public async Task Many_sources_share_its_room_and_it_never_has_more_than_that()
    {
        const int sources = 8;
        const int each = 100;
        BufferBlock<T>[] buffers = [.. Enumerable.Range(0, sources).Select(i => Buffer(i * each, each))];
        foreach (BufferBlock<T> buffer in buffers)
        {
            buffer.LinkTo(Block);
            buffer.Complete();
        }

        List<int> done = [];
        for (int i = 0; i < sources * each; i++)
        {
            int left = buffers.Sum(buffer => buffer.Count);
            Assert.That((sources * each) - left - i, Is.LessThanOrEqualTo(Capacity));
            _target.Release();
            done.Add(await _target.NextDoneAsync());
        }

        for (int i = 0; i < sources; i++)
        {
            Assert.That(done.Where(value => value / each == i), Is.EqualTo(Enumerable.Range(i * each, each)));
        }
    }

    private ProbeSource<T> Source(int value) => new(_target.Make(value));

    private BufferBlock<T> Buffer(int first, int count)
    {
        BufferBlock<T> buffer = new();
        foreach (int value in Enumerable.Range(first, count))
        {
            buffer.Post(_target.Make(value));
        }

        return buffer;
    }

    private async Task FillAsync()
    {
        for (int value = 0; value < Capacity; value++)
        {
            Assert.That(await Block.SendAsync(_target.Make(value)).WaitAsync(TestLimit.Time), Is.True);
        }
    }

    private static async Task<Exception> FailureOf(Task completion)
    {
        await completion.WaitAsync(TestLimit.Time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return completion.Exception!.Flatten().InnerException!;
    }
}
