using Pipeline.Protocols.StateSync;
using Pipeline.Samples;
using Pipeline.Samples.FileCopy;

// In one window or more:  dotnet run -- --name ann --listen 127.0.0.1:0     then type:  share PATH
// In another:             dotnet run -- --connect <what the first has printed> --connect <the next>     then type:  get HASH PATH
SharedFiles files = new();
return await SampleNode.RunAsync(args, [files.Reactor], DoAsync);

async Task DoAsync(string line)
{
    try
    {
        switch (line.Split(' ', 3))
        {
            case ["share", string path]:
                Console.WriteLine($"Others can type: get {await files.ShareAsync(path)} PATH");
                break;
            case ["get", string hash, string path]:
                using (CancellationTokenSource limit = new(TimeSpan.FromMinutes(10)))
                {
                    (long bytes, int peers) = await files.GetAsync(hash, path, limit.Token);
                    Console.WriteLine($"{path}: {bytes:N0} bytes from {peers} peers");
                }

                break;
            default:
                Console.WriteLine("Type: share PATH, or: get HASH PATH");
                break;
        }
    }
    catch (Exception e) when (e is IOException or UnauthorizedAccessException or StateSyncException or OperationCanceledException)
    {
        Console.WriteLine(e.Message);
    }
}
