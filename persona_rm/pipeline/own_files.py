"""Which files of users and prompts a recipe names, and whether they are all its data."""

from persona_rm.recipe import Recipe


def own_users(recipe: Recipe) -> dict[str, str]:
    """Key -> path of every users file or bundle that the recipe names."""
    named: dict[str, object] = {f"ppo.{name}.users": section.users for name, section in recipe.ppo.items()}
    named |= {f"dpo.{name}.users": section.users for name, section in recipe.dpo.items()}
    named |= {"infer.users": recipe.infer.users if recipe.infer else None}
    return {key: path for key, path in named.items() if isinstance(path, str)}


def own_prompts(recipe: Recipe) -> dict[str, str]:
    """Key -> path of every prompts file that the recipe names."""
    named = {f"ppo.{name}.prompts": section.prompts for name, section in recipe.ppo.items()}
    return {key: path for key, path in named.items() if isinstance(path, str)}


def own_only(recipe: Recipe) -> bool:
    """Whether users files are all the data that there is, because the recipe names no source."""
    return "source" not in recipe.model_fields_set and bool(own_users(recipe))
