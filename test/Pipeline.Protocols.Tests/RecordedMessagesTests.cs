using System.Text.Json.Nodes;
using Google.Protobuf;
using Pipeline.Wire;

namespace Pipeline.Protocols.Tests;

/// <summary>Holds the schemas and the channels' types against what nodes of the reference said.</summary>
public sealed class RecordedMessagesTests
{
    private static readonly JsonFormatter Formatter = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    [TestCase(1, 197)]
    [TestCase(2, 137)]
    [TestCase(3, 1275)]
    public void Every_message_of_a_session_survives_parsing_and_serialising(int session, int count) =>
        Assert.That(Survivors(Recordings.Session(session)).Count(), Is.EqualTo(count));

    [Test]
    public void Every_message_of_the_trace_survives_parsing_and_serialising()
    {
        Dictionary<string, int> countByProtocol = Survivors(Recordings.Trace())
            .CountBy(message => message.Descriptor.File.Package)
            .ToDictionary();

        Assert.That(countByProtocol, Is.EquivalentTo(new Dictionary<string, int>
        {
            ["tendermint.mempool"] = 7_361,
            ["tendermint.consensus"] = 2_187,
            ["tendermint.blocksync"] = 172,
            ["tendermint.p2p"] = 5,
        }));
        Assert.That(countByProtocol.Values.Sum(), Is.EqualTo(9_725));
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    public void Every_message_of_a_session_gets_the_name_that_was_recorded(int session)
    {
        DescribedMessage[] recorded = [.. Recordings.Session(session)];

        Assert.That(
            recorded.Select(message => MessageName.Of(message.Parser.ParseFrom(message.Bytes))),
            Is.EqualTo(recorded.Select(message => message.Type)));
    }

    /// <summary>No difference of format has to be forgiven: <see cref="JsonNode.DeepEquals"/> overlooks only the order of fields.</summary>
    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    public void Every_message_of_a_session_says_in_json_what_was_recorded(int session)
    {
        foreach ((int index, DescribedMessage recorded) in Recordings.Session(session).Index())
        {
            string json = Formatter.Format(recorded.Parser.ParseFrom(recorded.Bytes));
            if (!JsonNode.DeepEquals(JsonNode.Parse(json), recorded.Json))
            {
                Assert.Fail($"Message {index} is\n{json}\nbut was recorded as\n{recorded.Json.ToJsonString()}");
            }
        }
    }

    [Test]
    public void A_message_of_a_later_version_keeps_what_this_one_does_not_know()
    {
        // Kind 11 of the consensus messages, which no version has yet; kind 10 is of v1.
        byte[] bytes = Convert.FromHexString("5a0408011001");

        Consensus.Message message = StandardChannels.ConsensusState.Parser.ParseFrom(bytes);

        Assert.That(MessageName.Of(message), Is.EqualTo(MessageName.Unknown));
        Assert.That(message.ToByteArray(), Is.EqualTo(bytes));
    }

    /// <summary>
    /// Parses each message and serialises it again. Fields that the schema does not know are thrown away between the two, or they
    /// would come back unharmed and a wrong schema would pass.
    /// </summary>
    private static IEnumerable<IMessage> Survivors(IEnumerable<RecordedMessage> recorded)
    {
        foreach ((int index, RecordedMessage message) in recorded.Index())
        {
            IMessage parsed = message.Parser.WithDiscardUnknownFields(true).ParseFrom(message.Bytes);
            Assert.That(parsed.ToByteArray().AsSpan().SequenceEqual(message.Bytes), Is.True, $"message {index}, {MessageName.Of(parsed)}");
            yield return parsed;
        }
    }
}
