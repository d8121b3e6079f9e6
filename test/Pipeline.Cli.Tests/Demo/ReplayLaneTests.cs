using Microsoft.Extensions.Time.Testing;
using Pipeline.Cli.Demo;
using Pipeline.Cli.Traces;
using Pipeline.Dataflow;

namespace Pipeline.Cli.Tests.Demo;

[TestFixture]
public sealed class ReplayLaneTests
{
    private static readonly ChannelDescriptor Channel = new(0x22, "votes");

    private readonly FakeTimeProvider _time = new();

    [Test]
    public void What_arrives_as_it_was_sent_is_no_difference()
    {
        ReplayLane lane = Sent("a", "b", "b", "");

        Receive(lane, "a", "b", "b", "");

        Assert.That(lane.Counts, Is.EqualTo(new LaneCounts(4, 4, 3, 0, 0, 0)));
        Assert.That(lane.DescribeDifferences(expectAll: true), Is.Empty);
    }

    [Test]
    public void A_message_that_overtook_others_makes_each_of_them_late()
    {
        ReplayLane lane = Sent("a", "b", "c", "d");

        Receive(lane, "c", "a", "b", "d");

        Assert.That(lane.Counts, Is.EqualTo(new LaneCounts(4, 4, 4, OutOfOrder: 2, Corrupt: 0, Missing: 0)));
        Assert.That(lane.DescribeDifferences(expectAll: true), Is.EqualTo(new[]
        {
            "Peer 2, channel 0x22 votes: message 1 of 4 came after message 3 of 4.",
            "Peer 2, channel 0x22 votes: message 2 of 4 came after message 3 of 4.",
        }));
    }

    [Test]
    public void A_changed_byte_is_one_fault_and_what_follows_is_in_order()
    {
        ReplayLane lane = Sent("first", "second", "third");

        Receive(lane, "first", "sEcond", "third");

        Assert.That(lane.Counts, Is.EqualTo(new LaneCounts(3, 3, 16, OutOfOrder: 0, Corrupt: 1, Missing: 1)));
        Assert.That(
            lane.DescribeDifferences(expectAll: true),
            Is.EqualTo(new[] { "Peer 2, channel 0x22 votes: message 2 of 3 came with byte 1 of 6 changed from 0x65 to 0x45." }));
    }

    [Test]
    public void A_message_of_another_length_is_corrupt()
    {
        ReplayLane lane = Sent("first", "second");

        Receive(lane, "fir", "second");

        Assert.That(lane.Counts.Corrupt, Is.EqualTo(1));
        Assert.That(lane.DescribeDifferences(expectAll: true).Single(), Does.Contain("message 1 of 2 came with 3 bytes instead of 5, different from byte 3 on"));
    }

    [Test]
    public void A_lost_message_is_missing_and_what_follows_is_in_order()
    {
        ReplayLane lane = Sent("a", "b", "c", "d");

        Receive(lane, "a", "d");

        Assert.That(lane.Counts, Is.EqualTo(new LaneCounts(4, 2, 2, OutOfOrder: 0, Corrupt: 0, Missing: 2)));
        Assert.That(
            lane.DescribeDifferences(expectAll: true),
            Is.EqualTo(new[] { "Peer 2, channel 0x22 votes: 2 of 4 messages sent did not come, the first is number 2." }));
    }

    [Test]
    public void A_message_that_comes_twice_or_was_never_sent_is_corrupt()
    {
        ReplayLane lane = Sent("a", "b");

        Receive(lane, "a", "a", "b", "x");

        Assert.That(lane.Counts, Is.EqualTo(new LaneCounts(2, 4, 4, OutOfOrder: 0, Corrupt: 2, Missing: 0)));
        Assert.That(lane.DescribeDifferences(expectAll: true)[0], Does.Contain("message 1 of 2 came again"));
        Assert.That(lane.DescribeDifferences(expectAll: true)[1], Does.Contain("a message of 1 bytes came that was not sent"));
    }

    [Test]
    public void A_message_cannot_arrive_before_it_was_sent()
    {
        ReplayLane lane = Make("a", "b");
        lane.SendNext();

        Receive(lane, "b");

        Assert.That(lane.Counts.Corrupt, Is.EqualTo(1));
    }

    [Test]
    public void Only_the_first_differences_are_described_but_all_are_counted()
    {
        ReplayLane lane = Sent([.. Enumerable.Repeat("right", 3000)]);

        Receive(lane, [.. Enumerable.Repeat("wrong", 3000)]);

        Assert.That(lane.Counts, Is.EqualTo(new LaneCounts(3000, 3000, 15_000, OutOfOrder: 0, Corrupt: 3000, Missing: 3000)));
        Assert.That(lane.DescribeDifferences(expectAll: true), Has.Count.EqualTo(3));
    }

    [Test]
    public void Latency_runs_from_the_sending_of_a_message_to_its_own_arrival()
    {
        ReplayLane lane = Make("a", "b");
        lane.SendNext();
        _time.Advance(TimeSpan.FromMilliseconds(40));
        lane.SendNext();
        _time.Advance(TimeSpan.FromMilliseconds(2));

        Receive(lane, "a", "b");

        Assert.That(lane.Latency.Percentile(0.5)!.Value.TotalMilliseconds, Is.EqualTo(2).Within(2).Percent);
        Assert.That(lane.Latency.Percentile(1)!.Value.TotalMilliseconds, Is.EqualTo(42).Within(2).Percent);
    }

    private static void Receive(ReplayLane lane, params string[] messages)
    {
        foreach (string message in messages)
        {
            lane.Receive(System.Text.Encoding.ASCII.GetBytes(message));
        }
    }

    private ReplayLane Sent(params string[] messages)
    {
        ReplayLane lane = Make(messages);
        foreach (string _ in messages)
        {
            lane.SendNext();
        }

        return lane;
    }

    private ReplayLane Make(params string[] messages) => new(
        peer: 2,
        Channel,
        [.. messages.Select(message => new TraceMessage(TimeSpan.Zero, 2, Channel, System.Text.Encoding.ASCII.GetBytes(message)))],
        _time);
}
