using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Switching;

/// <summary>What can be wrong with how a program puts its node together.</summary>
public sealed class RegistrationTests
{
    [Test]
    public async Task A_channel_that_two_reactors_claim_is_refused_with_the_names_of_both()
    {
        await using TestNode node = new(null, new RecordingReactor("votes", new ChannelDescriptor(0x22, "vote")));
        Assert.That(
            () => node.Switch.AddReactor(new RecordingReactor("blocks", new ChannelDescriptor(0x40, "block"), new ChannelDescriptor(0x22, "mine"))),
            Throws.ArgumentException.With.Message.Contains("Channel 0x22 is claimed by two reactors: 'votes' and 'blocks'."));
        Assert.That(node.Switch.GetReactor("blocks"), Is.Null);
    }

    [Test]
    public async Task A_channel_that_a_reactor_claims_twice_is_refused_with_the_names_of_both()
    {
        await using TestNode node = new(null);
        Assert.That(
            () => node.Switch.AddReactor(new RecordingReactor("votes", new ChannelDescriptor(0x22, "yes"), new ChannelDescriptor(0x22, "no"))),
            Throws.ArgumentException.With.Message.Contains("Two channels have the same id: 0x22 yes and 0x22 no."));
    }

    [Test]
    public async Task A_name_that_two_reactors_have_is_refused()
    {
        await using TestNode node = new(null, new RecordingReactor("votes", new ChannelDescriptor(0x22, "vote")));
        Assert.That(
            () => node.Switch.AddReactor(new RecordingReactor("votes", new ChannelDescriptor(0x40, "block"))),
            Throws.ArgumentException.With.Message.Contains("Two reactors have the same name, 'votes'."));
    }

    [Test]
    public async Task More_channels_than_a_node_may_have_are_refused_with_the_names_of_all()
    {
        await using TestNode node = new(null, new RecordingReactor("many", Enumerable.Range(0, 16).Select(i => new ChannelDescriptor((byte)i, $"c{i}"))));
        Assert.That(
            () => node.Switch.AddReactor(new RecordingReactor("more", new ChannelDescriptor(0x22, "last"))),
            Throws.ArgumentException.With.Message.Contains("at most 16 channels, not 17: 0x00 c0, ").And.Message.Contains("0x22 last."));
    }

    [Test]
    public void A_priority_under_1_is_refused_with_the_name_of_its_channel() =>
        Assert.That(
            () => new ChannelDescriptor(0x22, "vote") { Priority = 0 },
            Throws.InstanceOf<ArgumentOutOfRangeException>().With.Message.StartsWith("Priority of channel 0x22 vote is at least 1."));

    [Test]
    public async Task A_reactor_that_is_added_twice_is_refused_as_that()
    {
        RecordingReactor reactor = new("votes");
        await using TestNode node = new(null, reactor);
        Assert.That(
            () => node.Switch.AddReactor(reactor),
            Throws.InvalidOperationException.With.Message.EqualTo("Reactor 'votes' has been added to this switch already."));
    }

    [Test]
    public async Task A_reactor_that_is_added_to_two_switches_is_refused_by_the_second()
    {
        RecordingReactor reactor = new("votes");
        await using TestNode first = new(null, reactor), second = new(null);
        Assert.That(
            () => second.Switch.AddReactor(reactor),
            Throws.InvalidOperationException.With.Message.EqualTo("Reactor 'votes' has been added to a switch already."));
        Assert.That(reactor.Switch, Is.SameAs(first.Switch));
        Assert.That(second.Switch.GetReactor("votes"), Is.Null);
    }

    [Test]
    public async Task A_reactor_that_is_added_after_the_start_or_stop_is_refused()
    {
        TestNode node = await TestNode.StartAsync(null);
        Assert.That(() => node.Switch.AddReactor(new RecordingReactor("late")), Throws.InvalidOperationException.With.Message.Contains("'late'"));
        await node.DisposeAsync();
        Assert.That(() => node.Switch.AddReactor(new RecordingReactor("late")), Throws.InvalidOperationException.With.Message.Contains("'late'"));
    }

    [Test]
    public async Task A_reactor_is_found_by_its_name_and_knows_its_switch()
    {
        RecordingReactor one = new("one"), two = new("two"), alone = new("alone");
        await using TestNode node = new(null, one, two);
        Assert.That(node.Switch.GetReactor("one"), Is.SameAs(one));
        Assert.That(node.Switch.GetReactor("two"), Is.SameAs(two));
        Assert.That(node.Switch.GetReactor("three"), Is.Null);
        Assert.That(two.Switch, Is.SameAs(node.Switch));
        Assert.That(() => alone.Switch, Throws.InvalidOperationException.With.Message.Contains("'alone'"));
    }

    [Test]
    public async Task A_switch_starts_once_and_not_after_its_stop()
    {
        TestNode node = await TestNode.StartAsync(null);
        Assert.That(() => node.Switch.StartAsync(), Throws.InvalidOperationException);
        await node.DisposeAsync();
        Assert.That(() => node.Switch.StartAsync(), Throws.InvalidOperationException);
    }

    [Test]
    public async Task Settings_that_make_no_valid_NodeInfo_stop_the_start_and_close_the_listener()
    {
        RecordingReactor reactor = new("votes");
        await using TestNode node = new(options => options with { Moniker = "ü" }, reactor);
        Assert.That(() => node.Switch.StartAsync(), Throws.ArgumentException.With.Message.Contains("moniker"));
        Assert.That(reactor.Grammar.Violations, Is.Empty);
    }
}
