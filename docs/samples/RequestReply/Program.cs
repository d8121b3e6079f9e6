using Pipeline.Dataflow;
using Pipeline.Samples;
using Pipeline.Samples.RequestReply;

// Each line is a question to all peers; a node answers with the question backwards.
RequestReactor requests = new(question => string.Concat(question.Reverse()), TimeSpan.FromSeconds(5));
return await SampleNode.RunAsync(args, [requests], AskAllAsync);

Task AskAllAsync(string question) => Task.WhenAll(requests.Switch.Peers.Select(async peer =>
{
    string answer = await TryAskAsync(peer, question);
    Console.WriteLine($"{peer.NodeInfo.Moniker}: {answer}");
}));

async Task<string> TryAskAsync(IPeer peer, string question)
{
    try
    {
        return await requests.AskAsync(peer, question);
    }
    catch (Exception e) when (e is IOException or TimeoutException)
    {
        return e.Message;
    }
}
