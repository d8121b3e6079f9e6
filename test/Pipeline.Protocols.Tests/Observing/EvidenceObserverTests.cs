using CsCheck;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Dataflow;
using Pipeline.Protocols.Observing;
using Pipeline.Protocols.Types;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.Observing;

public sealed class EvidenceObserverTests
{
    private static readonly ByteString Address = ByteString.CopyFrom([.. Enumerable.Range(1, 20).Select(i => (byte)i)]);

    [Test, CancelAfter(30_000)]
    public async Task Evidence_is_shown_once_with_what_it_says_and_from_whom(CancellationToken cancellationToken)
    {
        EvidenceObserverReactor observer = new();
        await using TestSwitch node = await StartAsync(observer);
        IAsyncEnumerable<ObservedEvidence> reader = observer.ReadAsync(cancellationToken);
        TestPeer a = await node.ConnectAsync();
        TestPeer b = await node.ConnectAsync();
        await node.ReceiveAsync(a, StandardChannels.Evidence, ListOf(DuplicateVote(7), Attack(9, 3)));
        await node.ReceiveAsync(b, StandardChannels.Evidence, ListOf(DuplicateVote(7), DuplicateVote(8)));
        await node.StopAsync();

        ObservedEvidence[] kept = [.. observer.Kept];
        Assert.That(kept.Select(evidence => (evidence.Kind, evidence.Height, evidence.From)), Is.EqualTo(new[]
        {
            (EvidenceKind.DuplicateVote, 7L, a.Id),
            (EvidenceKind.LightClientAttack, 9L, a.Id),
            (EvidenceKind.DuplicateVote, 8L, b.Id),
        }));
        Assert.That(kept[0].Validators, Is.EqualTo(new[] { "0102030405060708090A0B0C0D0E0F1011121314" }));
        Assert.That(kept[0].Time, Is.EqualTo(DateTimeOffset.FromUnixTimeSeconds(1_000)));
        Assert.That(kept[0].TotalVotingPower, Is.EqualTo(10));
        Assert.That(kept[1].ValidatorCount, Is.EqualTo(3));
        Assert.That(observer.Observed, Is.EqualTo(3));
        Assert.That(observer.Duplicates, Is.EqualTo(1));
        Assert.That(a.Sent.Concat(b.Sent), Is.Empty, "nothing is passed on");
        Assert.That(a.Usefulness, Is.Zero, "anybody can make evidence up");
        List<ObservedEvidence> read = [];
        await foreach (ObservedEvidence evidence in reader)
        {
            read.Add(evidence);
        }

        Assert.That(read, Is.EqualTo(kept));
    }

    [Test, CancelAfter(30_000)]
    public async Task Only_so_much_is_kept_of_so_many_validators(CancellationToken cancellationToken)
    {
        EvidenceObserverReactor observer = new(new EvidenceObserverOptions { MaxKept = 3, MaxValidators = 2 });
        await using TestSwitch node = await StartAsync(observer);
        TestPeer peer = await node.ConnectAsync();
        await node.ReceiveAsync(peer, StandardChannels.Evidence, ListOf([.. Enumerable.Range(1, 10).Select(i => Attack(i, 5))])).WaitAsync(cancellationToken);
        Assert.That(observer.Kept.Select(evidence => evidence.Height), Is.EqualTo(new[] { 8, 9, 10 }));
        Assert.That(observer.Kept.Select(evidence => (evidence.Validators.Length, evidence.ValidatorCount)), Is.All.EqualTo((2, 5)));
        await node.ReceiveAsync(peer, StandardChannels.Evidence, ListOf(Attack(1, 5)));
        Assert.That(observer.Observed, Is.EqualTo(11), "what was forgotten is new");
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_sends_much_does_not_push_out_what_others_have_sent(CancellationToken cancellationToken)
    {
        EvidenceObserverReactor observer = new(new EvidenceObserverOptions { MaxKept = 6 });
        await using TestSwitch node = await StartAsync(observer);
        TestPeer honest = await node.ConnectAsync();
        TestPeer flooder = await node.ConnectAsync();
        await node.ReceiveAsync(honest, StandardChannels.Evidence, ListOf(DuplicateVote(1), DuplicateVote(2)));
        await node.ReceiveAsync(flooder, StandardChannels.Evidence, ListOf([.. Enumerable.Range(100, 500).Select(i => DuplicateVote(i))])).WaitAsync(cancellationToken);
        await node.ReceiveAsync(honest, StandardChannels.Evidence, ListOf(DuplicateVote(3)));
        Assert.That(observer.Kept.Select(evidence => evidence.Height), Is.EqualTo(new[] { 1, 2, 597, 598, 599, 3 }));
    }

    private static IEnumerable<TestCaseData> Violations()
    {
        yield return Case("no kind", new Evidence());
        yield return Case("no votes", new Evidence { DuplicateVoteEvidence = new DuplicateVoteEvidence() });
        yield return Case("same block", DuplicateVote(1, evidence => evidence.VoteB = evidence.VoteA));
        yield return Case("other round", DuplicateVote(1, evidence => evidence.VoteB.Round = 5));
        yield return Case("other validator", DuplicateVote(1, evidence => evidence.VoteB.ValidatorAddress = ByteString.CopyFrom(new byte[20])));
        yield return Case("no validator", DuplicateVote(1, evidence => evidence.VoteA.ValidatorAddress = ByteString.Empty));
        yield return Case("no height", DuplicateVote(0));
        yield return Case("no block", new Evidence { LightClientAttackEvidence = new LightClientAttackEvidence { CommonHeight = 1 } });
        yield return Case("no common height", Attack(0, 1));

        static TestCaseData Case(string name, Evidence evidence) => new TestCaseData(ListOf(evidence)).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Violations)), CancelAfter(30_000)]
    public async Task Who_sends_what_cannot_be_evidence_is_stopped(EvidenceList list, CancellationToken cancellationToken)
    {
        EvidenceObserverReactor observer = new();
        await using TestSwitch node = await StartAsync(observer);
        TestPeer peer = await node.ConnectAsync();
        await node.ReceiveAsync(peer, StandardChannels.Evidence, list);
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
        Assert.That(observer.Kept, Is.Empty);
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_sends_too_much_at_once_is_stopped(CancellationToken cancellationToken)
    {
        EvidenceObserverReactor observer = new(new EvidenceObserverOptions { MaxReceived = 2 });
        await using TestSwitch node = await StartAsync(observer);
        TestPeer peer = await node.ConnectAsync();
        await node.ReceiveAsync(peer, StandardChannels.Evidence, ListOf(DuplicateVote(1), DuplicateVote(2), DuplicateVote(3)));
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Message, Does.Contain("3 pieces"));
    }

    [Test, CancelAfter(60_000)]
    public async Task Damaged_evidence_never_does_more_than_stop_its_peer(CancellationToken cancellationToken)
    {
        byte[] whole = ListOf(DuplicateVote(7), Attack(9, 3)).ToByteArray();
        await Gen.Select(Gen.Int[0, whole.Length - 1], Gen.Byte).Array[1, 6].SampleAsync(async damages =>
        {
            EvidenceObserverReactor observer = new();
            await using TestSwitch node = await StartAsync(observer);
            TestPeer peer = await node.ConnectAsync();
            byte[] bytes = [.. whole];
            foreach ((int at, byte value) in damages)
            {
                bytes[at] = value;
            }

            await node.ReceiveAsync(peer, StandardChannels.Evidence, bytes.AsMemory());
            if (peer.Stopped.IsCancellationRequested)
            {
                Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
            }
        });
    }

    private static async Task<TestSwitch> StartAsync(EvidenceObserverReactor observer)
    {
        TestSwitch node = new();
        node.AddReactor(observer);
        await node.StartAsync();
        return node;
    }

    private static EvidenceList ListOf(params IEnumerable<Evidence> evidence) => new() { Evidence = { evidence } };

    private static Evidence DuplicateVote(long height, Action<DuplicateVoteEvidence>? change = null)
    {
        DuplicateVoteEvidence evidence = new()
        {
            VoteA = VoteFor("a", height),
            VoteB = VoteFor("b", height),
            TotalVotingPower = 10,
            ValidatorPower = 1,
            Timestamp = new Timestamp { Seconds = 1_000 },
        };
        change?.Invoke(evidence);
        return new Evidence { DuplicateVoteEvidence = evidence };
    }

    private static Evidence Attack(long height, int validators) => new()
    {
        LightClientAttackEvidence = new LightClientAttackEvidence
        {
            ConflictingBlock = new LightBlock { SignedHeader = new SignedHeader { Header = new Header { Height = height + 1 } } },
            CommonHeight = height,
            ByzantineValidators = { Enumerable.Repeat(new Validator { Address = Address }, validators) },
        },
    };

    private static Types.Vote VoteFor(string block, long height) => new()
    {
        Type = SignedMsgType.Prevote,
        Height = height,
        BlockId = new BlockID { Hash = ByteString.CopyFromUtf8(block), PartSetHeader = new PartSetHeader() },
        Timestamp = new Timestamp(),
        ValidatorAddress = Address,
    };
}
