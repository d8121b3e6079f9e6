using System.Text.RegularExpressions;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Docs;

/// <summary>What the documentation says can be done can be done: its examples compile, and its links lead somewhere.</summary>
public sealed partial class DocumentationTests
{
    private static readonly string[] Pages = [Path.Combine(Repository.Root, "README.md"), .. Repository.Files("docs", "*.md")];

    public static IEnumerable<TestCaseData<string>> Examples =>
        from page in Pages
        let text = File.ReadAllText(page)
        from Match block in CodeBlock().Matches(text)
        let line = text.AsSpan(0, block.Index).Count('\n') + 1
        select new TestCaseData<string>(block.Groups["code"].Value) { TestName = $"The example at {Repository.Name(page)}:{line} compiles" };

    [TestCaseSource(nameof(Examples))]
    public void An_example_compiles(string code) => Assert.That(Compiler.Compile(code).Complaints(), Is.Empty);

    [Test]
    public void The_readme_has_an_example() =>
        Assert.That(CodeBlock().Count(File.ReadAllText(Pages[0])), Is.GreaterThan(0));

    [TestCase("int number = \"text\";", "CS0029")]
    [TestCase("Console.WriteLine(new Pipeline.Cryptography.NoSuchThing());", "CS0234")]
    [TestCase("Console.WriteLine(Pipeline.Cryptography.FrameCipher.SealedSize);", "CS0122")]
    [TestCase("string text = null; Console.WriteLine(text);", "CS8600")]
    public void An_example_that_a_reader_could_not_build_is_found(string code, string complaint) =>
        Assert.That(Compiler.Compile(code).Complaints(), Has.Some.Contains(complaint));

    [Test]
    public void Links_lead_to_files_that_exist() =>
        Assert.That(
            from page in Pages
            from Match link in Link().Matches(File.ReadAllText(page))
            let target = link.Groups["target"].Value
            where !target.Contains(':') && !Path.Exists(Path.Combine(Path.GetDirectoryName(page)!, target))
            select $"{Repository.Name(page)} links to {target}",
            Is.Empty);

    [Test]
    public void Pages_that_comments_name_exist() =>
        Assert.That(
            from file in Repository.Files("lib", "*.cs")
            from Match name in PageName().Matches(File.ReadAllText(file))
            where !File.Exists(Path.Combine(Repository.Root, name.Value))
            select $"{Repository.Name(file)} names {name.Value}",
            Is.Empty);

    [Test]
    public void Tests_that_pages_name_exist()
    {
        // Of all test projects, so by their source.
        ILookup<string, string> fixtures =
        (
            from file in Repository.Files("test", "*Tests.cs")
            let source = File.ReadAllText(file)
            from Match method in TestMethod().Matches(source)
            select (Fixture: Path.GetFileNameWithoutExtension(file), Test: method.Groups["test"].Value)
        ).ToLookup(test => test.Test, test => test.Fixture);
        Assert.That(
            from page in Pages
            from Match name in TestName().Matches(File.ReadAllText(page))
            let fixture = name.Groups["fixture"]
            let known = fixtures[name.Groups["test"].Value]
            where fixture.Success ? !known.Contains(fixture.Value) : !known.Any()
            select $"{Repository.Name(page)} names {name.Value}",
            Is.Empty);
    }

    [GeneratedRegex(@"\bpublic (async Task|Task|void) (?<test>\w+)\(", RegexOptions.ExplicitCapture)]
    private static partial Regex TestMethod();

    // A sentence in a test's name has three words at least.
    [GeneratedRegex(@"`((?<fixture>\w+Tests)\.(?<test>\w+)|(?<test>(?=\w*[a-z])[A-Z]\w*_\w+_\w+))`", RegexOptions.ExplicitCapture)]
    private static partial Regex TestName();

    [GeneratedRegex(@"^```csharp[ \t]*\r?\n(?<code>.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline | RegexOptions.ExplicitCapture)]
    private static partial Regex CodeBlock();

    [GeneratedRegex(@"\]\((?<target>[^)#\s]+)[^)]*\)", RegexOptions.ExplicitCapture)]
    private static partial Regex Link();

    [GeneratedRegex(@"\bdocs/[\w/-]+\.md\b")]
    private static partial Regex PageName();
}
