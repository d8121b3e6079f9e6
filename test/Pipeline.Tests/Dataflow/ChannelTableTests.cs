using Pipeline.Dataflow;

namespace Pipeline.Tests.Dataflow;

public sealed class ChannelTableTests
{
    [Test]
    public void Channels_are_found_by_id()
    {
        ChannelTable table = new([new ChannelDescriptor(0x20, "a"), new ChannelDescriptor(0xff, "b")]);
        Assert.That(table.Select(channel => table.IndexOf(channel.Id)), Is.EqualTo(new[] { 0, 1 }));
        Assert.That(Enumerable.Range(0, 256).Count(id => table.IndexOf((byte)id) >= 0), Is.EqualTo(2));
        Assert.That(table[1].Name, Is.EqualTo("b"));
    }

    [Test]
    public void A_channel_that_is_there_twice_is_named_with_its_double() =>
        Assert.That(
            () => new ChannelTable([new ChannelDescriptor(0x20, "votes"), new ChannelDescriptor(0x20, "blocks")]),
            Throws.ArgumentException.With.Message.Contains("0x20 votes").And.Message.Contains("0x20 blocks"));

    [Test]
    public void More_than_sixteen_channels_are_too_many() =>
        Assert.That(
            () => new ChannelTable(Enumerable.Range(0, 17).Select(id => new ChannelDescriptor((byte)id, "c"))),
            Throws.ArgumentException.With.Message.Contains("at most 16 channels, not 17"));
}
