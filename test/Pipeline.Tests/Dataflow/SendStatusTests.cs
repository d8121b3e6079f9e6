using System.Threading.Tasks.Dataflow;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Dataflow;

namespace Pipeline.Tests.Dataflow;

/// <summary>What a send block says of itself.</summary>
public sealed class SendStatusTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private static readonly ChannelDescriptor Channel = new(1, "channel") { SendQueueCapacity = 1 };

    private readonly FakeTimeProvider _time = new();

    [Test]
    public void Bytes_sent_not_long_ago_are_forgotten_by_a_fifth_every_two_seconds()
    {
        PrioritySendBlock block = Block();
        TrafficMeter traffic = new(block, 1);
        Assert.That(Send(block), Is.EqualTo(SendResult.Queued));
        int sent = block.Take(new byte[2000]);
        Assert.That(traffic.RecentlySent(0), Is.EqualTo(sent), "without being measured");

        double expected = sent;
        for (int seconds = 1; seconds <= 10; seconds++)
        {
            traffic.Measure(TimeSpan.FromSeconds(seconds), 0, 0);
            expected *= seconds % 2 == 0 ? 0.8 : 1;
            Assert.That(traffic.RecentlySent(0), Is.EqualTo(Math.Floor(expected)), $"after {seconds} s");
        }

        Send(block);
        block.Take(new byte[2000]);
        Assert.That(traffic.RecentlySent(0), Is.EqualTo(Math.Floor(expected + sent)));
        traffic.Measure(TimeSpan.FromSeconds(16.5), 0, 0);
        Assert.That(traffic.RecentlySent(0), Is.EqualTo(Math.Floor((expected + sent) * Math.Pow(0.8, 3))), "when it was measured late");
    }

    [Test]
    public void A_message_counts_packet_by_packet()
    {
        PrioritySendBlock block = Block();
        TrafficMeter traffic = new(block, 1);
        Send(block, 5000);
        int sent = block.Take(new byte[1100]);
        Assert.That(sent, Is.GreaterThan(1000));
        Assert.That(traffic.RecentlySent(0), Is.EqualTo(sent));
        Assert.That(block.GetStatus(0), Has.Property("MessagesSent").Zero.And.Property("Messages").EqualTo(1));
    }

    [Test]
    public void A_rate_is_the_average_of_what_is_known_and_forgets()
    {
        TrafficMeter.RateMeter rate = default;
        rate.Measure(TimeSpan.FromSeconds(1), 1000);
        Assert.That(rate.BytesPerSecond, Is.EqualTo(1000).Within(0.001), "a short life counts as it is");
        for (int second = 2; second <= 30; second++)
        {
            rate.Measure(TimeSpan.FromSeconds(second), 1000 + ((second - 1) * 500));
        }

        Assert.That(rate.BytesPerSecond, Is.EqualTo(500).Within(1).Percent);
        rate.Measure(TimeSpan.FromSeconds(33), 1000 + (29 * 500));
        Assert.That(rate.BytesPerSecond, Is.EqualTo(500 / Math.E).Within(1).Percent);
        Assert.That(rate.LastMoved, Is.EqualTo(TimeSpan.FromSeconds(30)));
    }

    [Test, CancelAfter(30_000)]
    public async Task Senders_that_wait_for_room_are_counted_with_their_time(CancellationToken cancellationToken)
    {
        PrioritySendBlock block = Block();
        Send(block);
        Assert.That(block.GetStatus(0), Is.EqualTo(new SendQueueStatus(1, 1000, 0, 0, 0, 0, TimeSpan.Zero)));

        Task<SendResult> first = WaitAsync(block, TimeSpan.FromSeconds(60), cancellationToken);
        _time.Advance(TimeSpan.FromSeconds(1));
        Task<SendResult> second = WaitAsync(block, TimeSpan.FromSeconds(3), cancellationToken);
        _time.Advance(TimeSpan.FromSeconds(2));
        AssertWaits(block, waiting: 2, waits: 2, seconds: 5);

        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.That(await second.WaitAsync(Limit, cancellationToken), Is.EqualTo(SendResult.QueueFull));
        AssertWaits(block, waiting: 1, waits: 2, seconds: 7);

        _time.Advance(TimeSpan.FromSeconds(1));
        block.Take(new byte[2000]);
        Assert.That(await first.WaitAsync(Limit, cancellationToken), Is.EqualTo(SendResult.Queued));
        _time.Advance(TimeSpan.FromSeconds(10));
        AssertWaits(block, waiting: 0, waits: 2, seconds: 8);
    }

    [Test, CancelAfter(30_000)]
    public async Task An_offer_of_a_linked_block_waits_like_a_sender(CancellationToken cancellationToken)
    {
        PrioritySendBlock block = Block();
        Send(block);
        BufferBlock<SerializedMessage> source = new();
        using IDisposable link = source.LinkTo(block);
        source.Post(SerializedMessage.Create(Channel, new byte[1000]));
        await UntilAsync(() => block.GetStatus(0).Waiting == 1);
        _time.Advance(TimeSpan.FromSeconds(2));
        block.Take(new byte[2000]);
        await UntilAsync(() => block.GetStatus(0).Messages == 1);
        AssertWaits(block, waiting: 0, waits: 1, seconds: 2);

        async Task UntilAsync(Func<bool> condition)
        {
            while (!condition())
            {
                await Task.Yield();
                cancellationToken.ThrowIfCancellationRequested();
            }
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task The_end_of_the_block_ends_the_waits(CancellationToken cancellationToken)
    {
        PrioritySendBlock block = Block();
        Send(block);
        Task<SendResult> waiting = WaitAsync(block, TimeSpan.FromSeconds(60), cancellationToken);
        _time.Advance(TimeSpan.FromSeconds(2));
        block.Complete();
        Assert.That(await waiting.WaitAsync(Limit, cancellationToken), Is.EqualTo(SendResult.PeerStopped));
        _time.Advance(TimeSpan.FromSeconds(2));
        AssertWaits(block, waiting: 0, waits: 1, seconds: 2);
    }

    private static void AssertWaits(PrioritySendBlock block, int waiting, long waits, double seconds)
    {
        SendQueueStatus status = block.GetStatus(0);
        Assert.That((status.Waiting, status.Waits, status.WaitTime), Is.EqualTo((waiting, waits, TimeSpan.FromSeconds(seconds))));
    }

    private PrioritySendBlock Block() => new(new ChannelTable([Channel]), [Channel.Id], 1024, _time);

    private static SendResult Send(PrioritySendBlock block, int size = 1000)
    {
        using SerializedMessage message = SerializedMessage.Create(Channel, new byte[size]);
        return block.TrySend(message);
    }

    private static async Task<SendResult> WaitAsync(PrioritySendBlock block, TimeSpan timeout, CancellationToken cancellationToken)
    {
        using SerializedMessage message = SerializedMessage.Create(Channel, new byte[1000]);
        return await block.SendAsync(message, timeout, cancellationToken);
    }
}
