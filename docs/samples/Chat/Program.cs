using Pipeline.Samples;
using Pipeline.Samples.Chat;

// In one window:  dotnet run -- --name ann --listen 127.0.0.1:0
// In another:     dotnet run -- --name bob --connect <what the first has printed>
ChatReactor chat = new(Console.Out);
return await SampleNode.RunAsync(args, [chat], chat.SayAsync);
