from django.http import HttpResponse
from django.urls import include, path
from support.models import Answer
from support.views import SupportChat

from . import views


def count(request):
    """A plain view beside the chats."""
    return HttpResponse(f"{Answer.objects.count()} {request.GET.get('q', '')} {request.headers.get('X-Word', '')}")


urlpatterns = [
    path("api/chat", include(SupportChat.urls())),
    path("async", include(views.AsyncChat.urls())),
    path("sync", include(views.SyncChat.urls())),
    path("replayed", include(views.ReplayedChat.urls())),
    path("endless", include(views.EndlessChat.urls())),
    path("failing", include(views.FailingChat.urls())),
    path("count", count),
]
