using Pipeline.Samples;
using Pipeline.Samples.TransactionGossip;

// Each line is a transaction. Connect as many nodes as you like, in circles too: each shows each transaction once.
GossipPool pool = new((text, from) => Console.WriteLine($"{text} ({from ?? "own"})"));
return await SampleNode.RunAsync(args, [pool.Reactor], pool.SubmitAsync, pool.FlushAsync);
