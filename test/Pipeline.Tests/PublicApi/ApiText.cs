using Microsoft.CodeAnalysis;

namespace Pipeline.Tests.PublicApi;

/// <summary>
/// What an assembly shows to its users, as lines of text that look like C#: each type, and below it each member that can be used or
/// overridden from outside, in an order that does not depend on that of the source. What the compiler makes for records, and what protoc
/// generates, is left out.
/// </summary>
internal static class ApiText
{
    private static readonly SymbolDisplayFormat Names = SymbolDisplayFormat.FullyQualifiedFormat
        .WithGlobalNamespaceStyle(SymbolDisplayGlobalNamespaceStyle.Omitted)
        .AddMiscellaneousOptions(SymbolDisplayMiscellaneousOptions.IncludeNullableReferenceTypeModifier | SymbolDisplayMiscellaneousOptions.AllowDefaultLiteral);

    private static readonly SymbolDisplayFormat TypeNames = Names.AddGenericsOptions(SymbolDisplayGenericsOptions.IncludeVariance);
    private static readonly SymbolDisplayFormat ConstrainedNames = TypeNames.AddGenericsOptions(SymbolDisplayGenericsOptions.IncludeTypeConstraints);

    private static readonly SymbolDisplayFormat Members = new(
        SymbolDisplayGlobalNamespaceStyle.Omitted,
        SymbolDisplayTypeQualificationStyle.NameAndContainingTypesAndNamespaces,
        SymbolDisplayGenericsOptions.IncludeTypeParameters | SymbolDisplayGenericsOptions.IncludeTypeConstraints,
        SymbolDisplayMemberOptions.IncludeType
            | SymbolDisplayMemberOptions.IncludeParameters
            | SymbolDisplayMemberOptions.IncludeModifiers
            | SymbolDisplayMemberOptions.IncludeAccessibility
            | SymbolDisplayMemberOptions.IncludeConstantValue
            | SymbolDisplayMemberOptions.IncludeRef,
        SymbolDisplayDelegateStyle.NameAndSignature,
        SymbolDisplayExtensionMethodStyle.StaticMethod,
        SymbolDisplayParameterOptions.IncludeType
            | SymbolDisplayParameterOptions.IncludeName
            | SymbolDisplayParameterOptions.IncludeDefaultValue
            | SymbolDisplayParameterOptions.IncludeModifiers
            | SymbolDisplayParameterOptions.IncludeExtensionThis,
        SymbolDisplayPropertyStyle.ShowReadWriteDescriptor,
        SymbolDisplayLocalOptions.None,
        SymbolDisplayKindOptions.IncludeMemberKeyword,
        Names.MiscellaneousOptions);

    public static IReadOnlyList<string> Of(IAssemblySymbol assembly) =>
    [
        .. Types(assembly.GlobalNamespace)
            .OrderBy(type => type.ToDisplayString(Names), StringComparer.Ordinal)
            .SelectMany(type => MembersOf(type).Select(member => $"    {member}").Prepend(Declare(type))),
    ];

    private static IEnumerable<INamedTypeSymbol> Types(INamespaceOrTypeSymbol container)
    {
        foreach (INamespaceOrTypeSymbol member in container.GetMembers().OfType<INamespaceOrTypeSymbol>())
        {
            if (member is INamedTypeSymbol type)
            {
                if (!IsVisible(type) || IsGenerated(type))
                {
                    continue;
                }

                yield return type;
            }

            foreach (INamedTypeSymbol inner in Types(member))
            {
                yield return inner;
            }
        }
    }

    private static IEnumerable<string> MembersOf(INamedTypeSymbol type)
    {
        IEnumerable<ISymbol> members = type.GetMembers().Where(member => IsVisible(member) && member is not ITypeSymbol && !IsImplied(member));
        return type.TypeKind switch
        {
            TypeKind.Delegate => [],
            TypeKind.Enum => members.Cast<IFieldSymbol>().OrderBy(value => value.ConstantValue).Select(value => $"{value.Name} = {value.ConstantValue}"),
            _ => from member in members
                 let text = Declare(member)
                 orderby member.Name, text
                 select text,
        };
    }

    private static bool IsVisible(ISymbol symbol) =>
        symbol.DeclaredAccessibility is Accessibility.Public or Accessibility.Protected or Accessibility.ProtectedOrInternal
        && !(symbol is { DeclaredAccessibility: not Accessibility.Public, ContainingType.IsSealed: true });

    // Accessors are seen with their property; what is made for records is marked as compiler-generated, as is the backing of a property.
    private static bool IsImplied(ISymbol member) =>
        member is IMethodSymbol { MethodKind: MethodKind.PropertyGet or MethodKind.PropertySet or MethodKind.EventAdd or MethodKind.EventRemove }
        || member is IMethodSymbol { MethodKind: MethodKind.Constructor, Parameters.IsEmpty: true, ContainingType.TypeKind: TypeKind.Struct }
        || (member.ContainingType.TypeKind == TypeKind.Enum && member is not IFieldSymbol { HasConstantValue: true })
        || Has(member, "CompilerGeneratedAttribute")
        || (member is IPropertySymbol { Name: "EqualityContract" } && member.ContainingType.IsRecord);

    // Classes of protoc are messages, say where their descriptors are, or are enums with the original names of their values.
    private static bool IsGenerated(INamedTypeSymbol type) =>
        type.AllInterfaces.Any(implemented => implemented.ToDisplayString() == "Google.Protobuf.IMessage")
        || (type.IsStatic && type.GetMembers("Descriptor").OfType<IPropertySymbol>().Any(property => property.Type.ToDisplayString().StartsWith("Google.Protobuf.Reflection.", StringComparison.Ordinal)))
        || (type.TypeKind == TypeKind.Enum && type.GetMembers().Any(value => Has(value, "OriginalNameAttribute")));

    private static bool Has(ISymbol symbol, string attribute) => symbol.GetAttributes().Any(data => data.AttributeClass?.Name == attribute);

    private static string Declare(INamedTypeSymbol type)
    {
        string name = type.ToDisplayString(TypeNames);
        if (type.TypeKind == TypeKind.Delegate)
        {
            IMethodSymbol invoke = type.DelegateInvokeMethod!;
            string parameters = string.Join(", ", invoke.Parameters.Select(parameter => parameter.ToDisplayString(Members)));
            return $"{Accessible(type)} delegate {invoke.ReturnType.ToDisplayString(Names)} {name}({parameters}){Constraints(type)}";
        }

        string modifiers = (type.IsStatic, type.IsAbstract, type.IsSealed) switch
        {
            _ when type.TypeKind is not TypeKind.Class => type.IsReadOnly ? "readonly " : "",
            (true, _, _) => "static ",
            (_, true, _) => "abstract ",
            (_, _, true) => "sealed ",
            _ => "",
        };
        string kind = type.TypeKind switch
        {
            TypeKind.Class => type.IsRecord ? "record" : "class",
            TypeKind.Struct => IsRecordStruct(type) ? "record struct" : type.IsRefLikeType ? "ref struct" : "struct",
            TypeKind.Interface => "interface",
            _ => "enum",
        };
        IEnumerable<ITypeSymbol?> bases = type.TypeKind switch
        {
            TypeKind.Enum => type.EnumUnderlyingType!.SpecialType == SpecialType.System_Int32 ? [] : [type.EnumUnderlyingType],
            TypeKind.Class when type.BaseType is { SpecialType: not SpecialType.System_Object } => [type.BaseType, .. Interfaces(type)],
            _ => Interfaces(type),
        };
        string after = string.Join(", ", bases.Select(used => used!.ToDisplayString(Names)));
        return $"{Accessible(type)} {modifiers}{kind} {name}{(after.Length > 0 ? $" : {after}" : "")}{Constraints(type)}";
    }

    // Those that users can see, without what every record has.
    private static IEnumerable<ITypeSymbol> Interfaces(INamedTypeSymbol type) =>
        type.Interfaces
            .Where(implemented => implemented.DeclaredAccessibility == Accessibility.Public)
            .Where(implemented => !((type.IsRecord || IsRecordStruct(type)) && implemented.Name == "IEquatable"))
            .OrderBy(implemented => implemented.ToDisplayString(Names), StringComparer.Ordinal);

    // Metadata does not say so; only for records the compiler makes this operator.
    private static bool IsRecordStruct(INamedTypeSymbol type) =>
        type.TypeKind == TypeKind.Struct && type.GetMembers("op_Equality").Any(member => Has(member, "CompilerGeneratedAttribute"));

    private static string Constraints(INamedTypeSymbol type)
    {
        string constrained = type.ToDisplayString(ConstrainedNames);
        int where = constrained.IndexOf(" where ", StringComparison.Ordinal);
        return where < 0 ? "" : constrained[where..];
    }

    private static string Accessible(ISymbol symbol) => symbol.DeclaredAccessibility == Accessibility.Public ? "public" : "protected";

    private static string Declare(ISymbol member)
    {
        // What has a body in an interface need not be implemented.
        string optional = member is { ContainingType.TypeKind: TypeKind.Interface, IsVirtual: true } ? "virtual " : "";

        // To outsiders, protected and protected internal are the same.
        return optional + member.ToDisplayString(Members).Replace("protected internal ", "protected ", StringComparison.Ordinal);
    }
}
