using System.Collections.Concurrent;
using System.Threading.Tasks.Dataflow;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Dataflow;
using Pipeline.Reactors;

namespace Pipeline.Tests.Conformance;

[Description("What the framework's BufferBlock does as a source.")]
public sealed class BufferBlockConformance() : SourceConformance<int>(() => new BufferBlockSource());

[Description("The same of the inbox of a reactor.")]
public sealed class ReactorInboxConformance() : SourceConformance<Envelope>(() => new ReactorInboxSource());

[Description("The same of the source of a reactor that is made of blocks.")]
public sealed class DataflowReactorConformance() : SourceConformance<Envelope<Int32Value>>(() => new DataflowReactorSource());

/// <summary>The dataflow protocol as a source speaks it; each case holds for every source.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
public abstract class SourceConformance<T>(Func<SourceUnderTest<T>> create) : IDisposable
{
    private static readonly DataflowLinkOptions Propagate = new() { PropagateCompletion = true };

    private readonly SourceUnderTest<T> _source = create();

    private ISourceBlock<T> Block => _source.Block;

    public void Dispose()
    {
        _source.Dispose();
        GC.SuppressFinalize(this);
    }

    [Test]
    public async Task A_linked_block_gets_everything_in_order_and_then_the_completion()
    {
        Feed(1..50);
        Collector<T> collector = new(_source);
        Block.LinkTo(collector.Block, Propagate);
        Feed(50..101);
        Block.Complete();
        Assert.That(await collector.AllAsync(), Is.EqualTo(Enumerable.Range(1, 100)));
    }

    [Test]
    public async Task An_offer_has_a_valid_header_and_its_source()
    {
        ProbeTarget<T> target = Link(DataflowMessageStatus.Accepted);
        Feed(7..9);
        Offer<T> first = await target.NextOfferAsync();
        Offer<T> second = await target.NextOfferAsync();
        Assert.That(first.Header.IsValid, Is.True);
        Assert.That(first.Source, Is.SameAs(Block));
        Assert.That(second.Header, Is.Not.EqualTo(first.Header));
        Assert.That(new[] { _source.ValueOf(first.Value), _source.ValueOf(second.Value) }, Is.EqualTo(new[] { 7, 8 }));
    }

    [Test]
    public void Arguments_are_checked()
    {
        ProbeTarget<T> target = new(DataflowMessageStatus.Accepted);
        Assert.That(() => Block.LinkTo(null!, new DataflowLinkOptions()), Throws.ArgumentNullException);
        Assert.That(() => Block.LinkTo(target, null!), Throws.ArgumentNullException);
        Assert.That(() => Block.ConsumeMessage(default, target, out _), Throws.ArgumentException);
        Assert.That(() => Block.ConsumeMessage(new DataflowMessageHeader(1), null!, out _), Throws.ArgumentNullException);
        Assert.That(() => Block.ReserveMessage(default, target), Throws.ArgumentException);
        Assert.That(() => Block.ReserveMessage(new DataflowMessageHeader(1), null!), Throws.ArgumentNullException);
        Assert.That(() => Block.ReleaseReservation(default, target), Throws.ArgumentException);
        Assert.That(() => Block.ReleaseReservation(new DataflowMessageHeader(1), null!), Throws.ArgumentNullException);
        Assert.That(() => Block.Fault(null!), Throws.ArgumentNullException);
    }

    [TestCase(DataflowMessageStatus.Declined)]
    [TestCase(DataflowMessageStatus.Postponed)]
    [TestCase(DataflowMessageStatus.NotAvailable)]
    [TestCase(DataflowMessageStatus.DecliningPermanently)]
    public async Task What_a_target_does_not_accept_is_offered_to_the_next(DataflowMessageStatus answer)
    {
        ProbeTarget<T> first = Link(answer);
        ProbeTarget<T> second = Link(DataflowMessageStatus.Accepted);
        Feed(1..2);
        Offer<T> offer = await second.NextOfferAsync();
        Assert.That(first.WasOffered, Is.True);
        Assert.That((await first.NextOfferAsync()).Header, Is.EqualTo(offer.Header));
    }

    [Test]
    public async Task Targets_are_offered_to_in_the_order_in_which_they_were_linked_and_the_first_that_accepts_gets_it()
    {
        ProbeTarget<T> first = Link(DataflowMessageStatus.Accepted);
        ProbeTarget<T> second = Link(DataflowMessageStatus.Accepted);
        Feed(1..4);
        for (int value = 1; value < 4; value++)
        {
            Assert.That(_source.ValueOf((await first.NextOfferAsync()).Value), Is.EqualTo(value));
        }

        Block.Complete();
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(second.WasOffered, Is.False);
    }

    [Test]
    public async Task A_target_that_is_not_appended_goes_before_the_others()
    {
        ProbeTarget<T> later = Link(DataflowMessageStatus.Accepted);
        ProbeTarget<T> first = Link(DataflowMessageStatus.Accepted, new DataflowLinkOptions { Append = false });
        Feed(1..2);
        await first.NextOfferAsync();
        await CompleteAsync();
        Assert.That(later.WasOffered, Is.False);
    }

    [Test]
    public async Task What_nobody_accepts_waits_and_is_offered_to_a_target_that_is_linked_later()
    {
        ProbeTarget<T> first = Link(DataflowMessageStatus.Declined);
        Feed(1..3);
        await first.NextOfferAsync();
        ProbeTarget<T> second = Link(DataflowMessageStatus.Accepted);
        Assert.That(_source.ValueOf((await second.NextOfferAsync()).Value), Is.EqualTo(1));
        Assert.That(_source.ValueOf((await second.NextOfferAsync()).Value), Is.EqualTo(2));
    }

    [Test]
    public async Task A_target_that_declines_permanently_is_offered_nothing_any_more()
    {
        ProbeTarget<T> first = Link(DataflowMessageStatus.DecliningPermanently, Propagate);
        ProbeTarget<T> second = Link(DataflowMessageStatus.Accepted);
        Feed(1..3);
        await second.NextOfferAsync();
        await second.NextOfferAsync();
        await first.NextOfferAsync();
        await CompleteAsync();
        Assert.That(first.WasOffered, Is.False);
        Assert.That(first.Completion.IsCompleted, Is.False, "it is not linked any more");
    }

    [Test]
    public async Task What_was_postponed_can_be_consumed_later_and_then_the_next_is_offered()
    {
        ProbeTarget<T> target = Link(DataflowMessageStatus.Postponed);
        Feed(1..4);
        for (int value = 1; value < 4; value++)
        {
            Offer<T> offer = await target.NextOfferAsync();
            Assert.That(offer.TryConsume(out T? consumed), Is.True);
            Assert.That(_source.ValueOf(consumed!), Is.EqualTo(value));
        }

        await CompleteAsync();
    }

    [Test]
    public async Task A_message_is_consumed_once()
    {
        ProbeTarget<T> target = Link(DataflowMessageStatus.Postponed);
        Feed(1..3);
        Offer<T> first = await target.NextOfferAsync();
        Assert.That(first.TryConsume(out _), Is.True);
        Assert.That(first.TryConsume(out _), Is.False);
        Assert.That(first.TryReserve(), Is.False);
        await target.NextOfferAsync();
        Assert.That(first.TryConsume(out _), Is.False, "nor the next in its place");
    }

    [Test]
    public async Task Of_two_that_postponed_one_consumes_and_the_other_learns_that_it_is_gone()
    {
        ProbeTarget<T> first = Link(DataflowMessageStatus.Postponed);
        ProbeTarget<T> second = Link(DataflowMessageStatus.Postponed);
        Feed(1..2);
        Offer<T> later = await second.NextOfferAsync();
        Offer<T> earlier = await first.NextOfferAsync();
        Assert.That(await EventuallyConsumes(later, second), Is.True);
        Assert.That(earlier.TryConsume(out _), Is.False);
        await CompleteAsync();
    }

    [Test]
    public async Task A_target_may_consume_while_it_is_offered()
    {
        ProbeTarget<T> target = new(DataflowMessageStatus.Accepted);
        List<int> consumed = [];
        target.Offering = offer =>
        {
            Assert.That(offer.TryConsume(out T? value), Is.True);
            consumed.Add(_source.ValueOf(value!));
        };
        Block.LinkTo(target, Propagate);
        Feed(1..5);
        Block.Complete();
        await target.Completion.WaitAsync(TestLimit.Time);
        Assert.That(consumed, Is.EqualTo(new[] { 1, 2, 3, 4 }));
    }

    [Test]
    public async Task What_is_reserved_is_kept_for_its_target()
    {
        ProbeTarget<T> target = Link(DataflowMessageStatus.Postponed);
        ProbeTarget<T> other = new(DataflowMessageStatus.Accepted);
        Feed(1..3);
        Offer<T> offer = await target.NextOfferAsync();
        Assert.That(offer.TryReserve(), Is.True);
        Assert.That(offer.TryReserve(), Is.False, "it is reserved already");
        Block.LinkTo(other);
        Offer<T> stolen = offer with { Target = other };
        Assert.That(stolen.TryReserve(), Is.False);
        Assert.That(stolen.TryConsume(out _), Is.False);
        Assert.That(stolen.ReleaseReservation, Throws.InvalidOperationException);
        Assert.That(offer.TryConsume(out T? value), Is.True);
        Assert.That(_source.ValueOf(value!), Is.EqualTo(1));
        Assert.That(_source.ValueOf((await other.NextOfferAsync()).Value), Is.EqualTo(2), "the reserved one was not offered to it");
    }

    [Test]
    public async Task What_is_released_is_offered_again()
    {
        ProbeTarget<T> target = Link(DataflowMessageStatus.Postponed);
        Feed(1..2);
        Offer<T> offer = await target.NextOfferAsync();
        Assert.That(offer.TryReserve(), Is.True);
        ProbeTarget<T> other = Link(DataflowMessageStatus.Declined);
        offer.ReleaseReservation();
        Assert.That(_source.ValueOf((await other.NextOfferAsync()).Value), Is.EqualTo(1));
        Offer<T> again = await target.NextOfferAsync();
        Assert.That(await EventuallyConsumes(again, target), Is.True);
    }

    [Test]
    public async Task Only_what_is_reserved_can_be_released()
    {
        ProbeTarget<T> target = Link(DataflowMessageStatus.Postponed);
        Feed(1..2);
        Offer<T> offer = await target.NextOfferAsync();
        Assert.That(offer.ReleaseReservation, Throws.InvalidOperationException);
        Assert.That(offer.TryReserve(), Is.True);
        Assert.That((offer with { Header = new DataflowMessageHeader(offer.Header.Id + 1) }).ReleaseReservation, Throws.InvalidOperationException);
        Assert.That(offer.TryConsume(out _), Is.True);
        Assert.That(offer.ReleaseReservation, Throws.InvalidOperationException);
    }

    [Test]
    public async Task A_link_for_some_messages_ends_after_them([Values(1, 3)] int max)
    {
        ProbeTarget<T> limited = Link(DataflowMessageStatus.Accepted, new DataflowLinkOptions { MaxMessages = max, PropagateCompletion = true });
        Collector<T> rest = new(_source);
        Block.LinkTo(rest.Block, Propagate);
        Feed(1..6);
        Block.Complete();
        Assert.That(await rest.AllAsync(), Is.EqualTo(Enumerable.Range(max + 1, 5 - max)));
        Assert.That(limited.Completion.IsCompleted, Is.False);
    }

    [Test]
    public async Task A_link_for_some_messages_counts_those_that_were_postponed_when_they_are_consumed()
    {
        ProbeTarget<T> limited = Link(DataflowMessageStatus.Postponed, new DataflowLinkOptions { MaxMessages = 2 });
        Feed(1..5);
        for (int i = 0; i < 2; i++)
        {
            Offer<T> offer = await limited.NextOfferAsync();
            Assert.That(offer.TryConsume(out _), Is.True);
        }

        Collector<T> rest = new(_source);
        Block.LinkTo(rest.Block, Propagate);
        Block.Complete();
        Assert.That(await rest.AllAsync(), Is.EqualTo(new[] { 3, 4 }));
        Assert.That(limited.WasOffered, Is.False);
    }

    [Test]
    public async Task A_target_that_is_linked_twice_gets_what_both_links_allow()
    {
        Collector<T> twice = new(_source);
        Collector<T> rest = new(_source);
        Block.LinkTo(twice.Block, new DataflowLinkOptions { MaxMessages = 2 });
        Block.LinkTo(twice.Block, new DataflowLinkOptions { MaxMessages = 1 });
        Block.LinkTo(rest.Block, Propagate);
        Feed(1..6);
        Block.Complete();
        Assert.That(await rest.AllAsync(), Is.EqualTo(new[] { 4, 5 }));
        twice.Block.Complete();
        Assert.That(await twice.AllAsync(), Is.EqualTo(new[] { 1, 2, 3 }));
    }

    [Test]
    public async Task A_filter_lets_through_what_it_should_and_the_null_target_takes_the_rest()
    {
        Collector<T> even = new(_source);
        Block.LinkTo(even.Block, Propagate, item => _source.ValueOf(item) % 2 == 0);
        Block.LinkTo(DataflowBlock.NullTarget<T>());
        Feed(1..100);
        Block.Complete();
        Assert.That(await even.AllAsync(), Is.EqualTo(Enumerable.Range(1, 99).Where(value => value % 2 == 0)));
    }

    [Test]
    public async Task Behind_a_filter_a_full_target_still_gets_what_it_postponed()
    {
        Collector<T> odd = new(_source, capacity: 1);
        Collector<T> even = new(_source, capacity: 1);
        Block.LinkTo(odd.Block, Propagate, item => _source.ValueOf(item) % 2 != 0);
        Block.LinkTo(even.Block, Propagate, item => _source.ValueOf(item) % 2 == 0);
        Feed(1..201);
        Block.Complete();
        Assert.That(await odd.AllAsync(), Is.EqualTo(Enumerable.Range(0, 100).Select(i => (2 * i) + 1)));
        Assert.That(await even.AllAsync(), Is.EqualTo(Enumerable.Range(1, 100).Select(i => 2 * i)));
    }

    [Test]
    public async Task A_target_in_a_capsule_gets_everything()
    {
        BufferBlock<T> inner = new(new DataflowBlockOptions { BoundedCapacity = 1 });
        Collector<T> collector = new(_source, capacity: 1);
        inner.LinkTo(collector.Block, Propagate);
        Block.LinkTo(DataflowBlock.Encapsulate(inner, inner), Propagate);
        Feed(1..101);
        Block.Complete();
        Assert.That(await collector.AllAsync(), Is.EqualTo(Enumerable.Range(1, 100)));
    }

    [Test]
    public async Task A_join_that_is_not_greedy_reserves_and_consumes_pairs()
    {
        using SourceUnderTest<T> other = create();
        JoinBlock<T, T> join = new(new GroupingDataflowBlockOptions { Greedy = false });
        List<(int, int)> pairs = [];
        ActionBlock<Tuple<T, T>> collect = new(pair => pairs.Add((_source.ValueOf(pair.Item1), _source.ValueOf(pair.Item2))));
        join.LinkTo(collect, Propagate);
        Block.LinkTo(join.Target1, Propagate);
        other.Block.LinkTo(join.Target2, Propagate);
        Feed(1..51);
        for (int value = 1; value < 51; value++)
        {
            other.Feed(-value);
        }

        Block.Complete();
        other.Block.Complete();
        await collect.Completion.WaitAsync(TestLimit.Time);
        Assert.That(pairs, Is.EqualTo(Enumerable.Range(1, 50).Select(value => (value, -value))));
    }

    [Test]
    public async Task Who_is_unlinked_is_offered_nothing_any_more()
    {
        ProbeTarget<T> first = new(DataflowMessageStatus.Accepted);
        IDisposable link = Block.LinkTo(first, Propagate);
        Feed(1..2);
        await first.NextOfferAsync();
        link.Dispose();
        link.Dispose();
        ProbeTarget<T> second = Link(DataflowMessageStatus.Accepted);
        Feed(2..3);
        Assert.That(_source.ValueOf((await second.NextOfferAsync()).Value), Is.EqualTo(2));
        await CompleteAsync();
        Assert.That(first.WasOffered, Is.False);
        Assert.That(first.Completion.IsCompleted, Is.False);
    }

    [Test]
    public async Task Unlinking_one_leaves_the_others_linked()
    {
        ProbeTarget<T> first = new(DataflowMessageStatus.Declined);
        ProbeTarget<T> middle = new(DataflowMessageStatus.Declined);
        ProbeTarget<T> last = new(DataflowMessageStatus.Accepted);
        Block.LinkTo(first);
        IDisposable link = Block.LinkTo(middle);
        Block.LinkTo(last, Propagate);
        Feed(1..2);
        await last.NextOfferAsync();
        link.Dispose();
        Feed(2..3);
        await last.NextOfferAsync();
        Block.Complete();
        await last.Completion.WaitAsync(TestLimit.Time);
        await first.NextOfferAsync();
        await middle.NextOfferAsync();
        Assert.That(first.WasOffered, Is.True);
        Assert.That(middle.WasOffered, Is.False);
    }

    [Test]
    public async Task Who_postponed_before_it_was_unlinked_may_still_consume()
    {
        ProbeTarget<T> target = new(DataflowMessageStatus.Postponed);
        IDisposable link = Block.LinkTo(target);
        Feed(1..2);
        Offer<T> offer = await target.NextOfferAsync();
        link.Dispose();
        Assert.That(offer.TryConsume(out T? value), Is.True);
        Assert.That(_source.ValueOf(value!), Is.EqualTo(1));
        await CompleteAsync();
    }

    [Test]
    public async Task Completion_is_propagated_only_where_it_is_asked_for_and_after_the_sources_own()
    {
        bool? wasCompleted = null;
        ProbeTarget<T> with = new(DataflowMessageStatus.Accepted) { Ending = () => wasCompleted = Block.Completion.IsCompletedSuccessfully };
        Block.LinkTo(with, Propagate);
        ProbeTarget<T> without = Link(DataflowMessageStatus.Accepted, new DataflowLinkOptions { Append = false });
        Feed(1..2);
        await without.NextOfferAsync();
        Block.Complete();
        await with.Completion.WaitAsync(TestLimit.Time);
        Assert.That(wasCompleted, Is.True);
        Assert.That(without.Completion.IsCompleted, Is.False);
    }

    [Test]
    public async Task It_completes_only_when_the_last_message_has_been_handed_over()
    {
        ProbeTarget<T> target = Link(DataflowMessageStatus.Postponed, Propagate);
        Feed(1..3);
        Block.Complete();
        Offer<T> first = await target.NextOfferAsync();
        Assert.That(Block.Completion.IsCompleted, Is.False);
        Assert.That(first.TryConsume(out _), Is.True);
        Offer<T> last = await target.NextOfferAsync();
        Assert.That(last.TryReserve(), Is.True);
        Assert.That(Block.Completion.IsCompleted, Is.False);
        Assert.That(target.Completion.IsCompleted, Is.False);
        Assert.That(last.TryConsume(out _), Is.True);
        await target.Completion.WaitAsync(TestLimit.Time);
        Assert.That(Block.Completion.IsCompletedSuccessfully, Is.True);
    }

    [Test]
    public async Task With_nothing_in_it_and_nobody_linked_it_completes_at_once()
    {
        Block.Complete();
        Block.Complete();
        await Block.Completion.WaitAsync(TestLimit.Time);
        Assert.That(Block.Completion.IsCompletedSuccessfully, Is.True);
    }

    [Test]
    public async Task After_completion_nothing_is_taken_in()
    {
        Feed(1..3);
        Block.Complete();
        Feed(3..5);
        Collector<T> collector = new(_source);
        Block.LinkTo(collector.Block, Propagate);
        Assert.That(await collector.AllAsync(), Is.EqualTo(new[] { 1, 2 }));
        Feed(5..6);
        await Block.Completion.WaitAsync(TestLimit.Time);
    }

    [Test]
    public async Task Who_is_linked_after_the_end_learns_of_it()
    {
        await CompleteAsync();
        ProbeTarget<T> target = Link(DataflowMessageStatus.Accepted, Propagate);
        await target.Completion.WaitAsync(TestLimit.Time);
        Assert.That(target.WasOffered, Is.False);
    }

    [Test]
    public async Task A_fault_drops_what_is_there_and_shows_in_the_completions()
    {
        ProbeTarget<T> target = Link(DataflowMessageStatus.Postponed, Propagate);
        Feed(1..4);
        Offer<T> offer = await target.NextOfferAsync();
        InvalidOperationException failure = new("broken");
        Block.Fault(failure);
        Assert.That(await FailureOf(Block.Completion), Is.SameAs(failure));
        Assert.That(await FailureOf(target.Completion), Is.SameAs(failure));
        Assert.That(offer.TryConsume(out _), Is.False);
        Feed(4..5);
        Assert.That(target.WasOffered, Is.False);
        ProbeTarget<T> late = Link(DataflowMessageStatus.Accepted, Propagate);
        Assert.That(await FailureOf(late.Completion), Is.SameAs(failure));
        Assert.That(late.WasOffered, Is.False);
    }

    [Test]
    public async Task A_fault_waits_for_who_has_reserved([Values] bool isConsumed)
    {
        ProbeTarget<T> target = Link(DataflowMessageStatus.Postponed);
        Feed(1..3);
        Offer<T> offer = await target.NextOfferAsync();
        Assert.That(offer.TryReserve(), Is.True);
        InvalidOperationException failure = new("broken");
        Block.Fault(failure);
        Assert.That(Block.Completion.IsCompleted, Is.False);
        if (isConsumed)
        {
            Assert.That(offer.TryConsume(out _), Is.True);
        }
        else
        {
            offer.ReleaseReservation();
        }

        Assert.That(await FailureOf(Block.Completion), Is.SameAs(failure));
    }

    [Test]
    public async Task A_second_end_changes_nothing()
    {
        Feed(1..2);
        Block.Complete();
        Block.Fault(new InvalidOperationException("too late"));
        Collector<T> collector = new(_source);
        Block.LinkTo(collector.Block, Propagate);
        Assert.That(await collector.AllAsync(), Is.EqualTo(new[] { 1 }));
        Assert.That(Block.Completion.IsCompletedSuccessfully, Is.True);
    }

    [Test]
    public async Task A_target_that_throws_faults_the_source([Values] bool isCompleting)
    {
        InvalidOperationException failure = new("broken target");
        ProbeTarget<T> target = Link(DataflowMessageStatus.Accepted, Propagate);
        target.Offering = _ =>
        {
            if (isCompleting)
            {
                Block.Complete();
            }

            throw failure;
        };
        Feed(1..4);
        Assert.That(await FailureOf(Block.Completion), Is.SameAs(failure));
        Assert.That(await FailureOf(target.Completion), Is.SameAs(failure));
    }

    [Test]
    public async Task A_bounded_target_holds_the_source_back()
    {
        using SemaphoreSlim room = new(0);
        int handled = 0;
        ActionBlock<T> slow = new(
            async _ =>
            {
                await room.WaitAsync();
                handled++;
            },
            new ExecutionDataflowBlockOptions { BoundedCapacity = 2 });
        ProbeTarget<T> overflow = new(DataflowMessageStatus.Declined);
        Block.LinkTo(slow, Propagate);
        Block.LinkTo(overflow);
        Feed(1..11);
        Assert.That(_source.ValueOf((await overflow.NextOfferAsync()).Value), Is.EqualTo(3), "two have room");
        room.Release(10);
        Block.Complete();
        await slow.Completion.WaitAsync(TestLimit.Time);
        Assert.That(handled, Is.EqualTo(10));
    }

    [Test]
    public async Task Bounded_targets_share_the_messages_and_each_goes_to_one()
    {
        const int count = 2000;
        ConcurrentQueue<int> got = new();
        ActionBlock<T>[] targets =
        [
            .. Enumerable.Range(1, 4).Select(capacity => new ActionBlock<T>(
                item => got.Enqueue(_source.ValueOf(item)),
                new ExecutionDataflowBlockOptions { BoundedCapacity = capacity })),
        ];
        foreach (ActionBlock<T> target in targets)
        {
            Block.LinkTo(target, Propagate);
        }

        await Task.Run(() => Feed(0..count));
        Block.Complete();
        await Task.WhenAll(targets.Select(target => target.Completion)).WaitAsync(TestLimit.Time);
        Assert.That(got, Is.EquivalentTo(Enumerable.Range(0, count)));
    }

    [Test]
    public async Task Links_that_come_and_go_lose_and_double_nothing()
    {
        const int count = 2000;
        ConcurrentQueue<int> got = new();
        ActionBlock<T> target = new(item => got.Enqueue(_source.ValueOf(item)), new ExecutionDataflowBlockOptions { BoundedCapacity = 2 });
        Task feeding = Task.Run(() => Feed(0..count));
        while (!feeding.IsCompleted)
        {
            using IDisposable link = Block.LinkTo(target);
            await Task.Yield();
        }

        await feeding;
        Block.LinkTo(target, Propagate);
        Block.Complete();
        await target.Completion.WaitAsync(TestLimit.Time);
        Assert.That(got, Is.EqualTo(Enumerable.Range(0, count)));
    }

    [Test]
    public async Task Messages_can_be_received_one_by_one()
    {
        Feed(1..2);
        Assert.That(_source.ValueOf(await Block.ReceiveAsync().WaitAsync(TestLimit.Time)), Is.EqualTo(1));
        Task<T> waiting = Block.ReceiveAsync();
        Assert.That(waiting.IsCompleted, Is.False);
        Feed(2..4);
        Assert.That(_source.ValueOf(await waiting.WaitAsync(TestLimit.Time)), Is.EqualTo(2));
        Assert.That(_source.ValueOf(await Block.ReceiveAsync().WaitAsync(TestLimit.Time)), Is.EqualTo(3));
        Task<T> last = Block.ReceiveAsync();
        Block.Complete();
        Assert.That(async () => await last.WaitAsync(TestLimit.Time), Throws.InvalidOperationException);
        Assert.That(async () => await Block.ReceiveAsync().WaitAsync(TestLimit.Time), Throws.InvalidOperationException);
    }

    [Test]
    public async Task Who_gives_up_receiving_takes_nothing()
    {
        using CancellationTokenSource cancel = new();
        Task<T> waiting = Block.ReceiveAsync(cancel.Token);
        await cancel.CancelAsync();
        Assert.That(async () => await waiting.WaitAsync(TestLimit.Time), Throws.InstanceOf<OperationCanceledException>());
        Feed(1..2);
        Assert.That(_source.ValueOf(await Block.ReceiveAsync().WaitAsync(TestLimit.Time)), Is.EqualTo(1));
    }

    [Test]
    public async Task One_can_wait_until_there_is_something()
    {
        Task<bool> waiting = Block.OutputAvailableAsync();
        Assert.That(waiting.IsCompleted, Is.False);
        Feed(1..2);
        Assert.That(await waiting.WaitAsync(TestLimit.Time), Is.True);
        Assert.That(_source.ValueOf(await Block.ReceiveAsync().WaitAsync(TestLimit.Time)), Is.EqualTo(1));
        Task<bool> never = Block.OutputAvailableAsync();
        Block.Complete();
        Assert.That(await never.WaitAsync(TestLimit.Time), Is.False);
    }

    private void Feed(Range values)
    {
        for (int value = values.Start.Value; value < values.End.Value; value++)
        {
            _source.Feed(value);
        }
    }

    private ProbeTarget<T> Link(DataflowMessageStatus answer, DataflowLinkOptions? options = null)
    {
        ProbeTarget<T> target = new(answer);
        Block.LinkTo(target, options ?? new DataflowLinkOptions());
        return target;
    }

    private async Task CompleteAsync()
    {
        Block.Complete();
        await Block.Completion.WaitAsync(TestLimit.Time);
    }

    // While the message is on offer to another target, a source may refuse it and offer it again.
    private static async Task<bool> EventuallyConsumes(Offer<T> offer, ProbeTarget<T> target)
    {
        while (!offer.TryConsume(out _))
        {
            offer = await target.NextOfferAsync();
        }

        return true;
    }

    private static async Task<Exception> FailureOf(Task completion)
    {
        await completion.WaitAsync(TestLimit.Time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return completion.Exception!.Flatten().InnerException!;
    }
}

/// <summary>A block that keeps the numbers it gets.</summary>
internal sealed class Collector<T>
{
    private readonly List<int> _values = [];

    public Collector(SourceUnderTest<T> source, int capacity = DataflowBlockOptions.Unbounded) => Block = new ActionBlock<T>(
        item => _values.Add(source.ValueOf(item)),
        new ExecutionDataflowBlockOptions { BoundedCapacity = capacity });

    public ActionBlock<T> Block { get; }

    /// <summary>Waits for the end, and returns what came before.</summary>
    public async Task<IReadOnlyList<int>> AllAsync()
    {
        await Block.Completion.WaitAsync(TestLimit.Time);
        return _values;
    }
}
